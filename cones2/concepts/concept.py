"""What a phrase of a prompt stands for: the protocol of all kinds of concepts, of which `Residual` is the first.

A kind is one file in this folder. It says what it changes; a residual changes rows of the conditioning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ..prompt.claims import Claim, PhraseRef
from ..prompt.conditioning import Conditioning
from ..prompt.tokens import Span
from .cutout import CutOut


class PlacedConcept(Protocol):
    """A concept at the tokens of one prompt."""

    @property
    def spans(self) -> Sequence[Span]:
        """Its tokens."""
        ...

    @property
    def cutouts(self) -> tuple[CutOut, ...]:
        """The subject out of its photos, for starts from them; often none."""
        ...

    def change_rows(self, rows: Tensor) -> None:
        """Change the prompt's conditioning [..., L, d], float32, in place.

        Raises ResidualError when the concept does not fit the conditioning or its tokens.
        """
        ...


class Concept(Protocol):
    """One specific subject, whatever was learned of it."""

    @property
    def reference(self) -> PhraseRef:
        """The phrase, and occurrence, of the prompt that it is for."""
        ...

    def at(self, claim: Claim) -> PlacedConcept:
        """The concept at the tokens that the phrase owns in a prompt."""
        ...


def changed_rows(embeds: Tensor, concepts: Sequence[PlacedConcept]) -> Tensor:
    """A copy of the conditioning [..., L, d] as all concepts change it, computed in float32."""
    rows = embeds.float()
    rows = rows.clone() if rows is embeds else rows
    for concept in concepts:
        concept.change_rows(rows)
    return rows.to(embeds.dtype)


def changed(conditioning: Conditioning, concepts: Sequence[PlacedConcept]) -> Conditioning:
    """The conditioning of a prompt as all concepts change it."""
    return Conditioning(changed_rows(conditioning.embeds, concepts), conditioning.pooled)
