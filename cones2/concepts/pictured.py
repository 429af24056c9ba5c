"""Subjects that are known by their pictures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import AdapterError
from ..prompt.claims import Claim, PhraseRef
from ..prompt.tokens import Span
from .cutout import CutOut

MAX_PICTURES = 16
"""Of one subject."""

_WHITE = 1.0


class Pictured(Protocol):
    """Whatever may have pictures: a residual with cut-outs, or a subject of pictures alone."""

    @property
    def reference(self) -> PhraseRef:
        """The phrase, and occurrence, of the prompt that it is for."""
        ...

    @property
    def cutouts(self) -> tuple[CutOut, ...]:
        """It out of its photos."""
        ...


@dataclass(frozen=True, eq=False)
class PicturedSubject:
    """A subject without training: a phrase and pictures of it.

    reference: the phrase and occurrence of the prompt that it is for.
    cutouts: it out of 1 to 16 photos.
    strength: factor on what an image adapter adds for it.
    """

    reference: PhraseRef
    cutouts: tuple[CutOut, ...]
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.cutouts) <= MAX_PICTURES:
            raise AdapterError(f'"{self.reference}" has {len(self.cutouts)} pictures: 1 to {MAX_PICTURES} are taken')

    @property
    def subject(self) -> str:
        """The phrase as users name it."""
        return str(self.reference)

    def at(self, claim: Claim) -> PlacedPictures:
        """It at the tokens that its phrase owns in a prompt."""
        return PlacedPictures(self, claim.spans)


class PlacedPictures(NamedTuple):
    """A subject from pictures at the tokens of a prompt; the words stay as they are."""

    concept: PicturedSubject
    spans: Sequence[Span]

    @property
    def cutouts(self) -> tuple[CutOut, ...]:
        """The subject's own."""
        return self.concept.cutouts

    def change_rows(self, rows: Tensor) -> None:
        """Nothing."""


def with_pictures(subjects: Sequence[Pictured]) -> list[PicturedSubject]:
    """Those of the subjects that have pictures. Raises AdapterError when none has."""
    found = [
        one if isinstance(one, PicturedSubject) else PicturedSubject(one.reference, one.cutouts)
        for one in subjects
        if one.cutouts
    ]
    if not found:
        names = ", ".join(f'"{one.reference}"' for one in subjects) or "none"
        raise AdapterError(f"no subject has a picture (subjects: {names}): take Subject from Pictures for each")
    return found


def on_white(cutout: CutOut) -> Tensor:
    """The subject on a white square, in its middle: [3, S, S] float32 in [0, 1]."""
    rgba, side = cutout.rgba, max(cutout.height, cutout.width)
    square = torch.full((3, side, side), _WHITE)
    top, left = (side - cutout.height) // 2, (side - cutout.width) // 2
    opacity = rgba[3:]
    square[:, top : top + cutout.height, left : left + cutout.width] = rgba[:3] * opacity + _WHITE * (1 - opacity)
    return square
