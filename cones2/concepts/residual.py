"""Residual embeddings: what makes a class word one specific subject (Cones 2, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ResidualError
from ..families.family import (
    ModelFamily,
    TokenRows,
    encoders_of_width,
    family_of_key,
    family_of_rows,
    family_of_width,
    width_label,
)
from ..messages import listed, shown
from ..prompt.claims import Claim, PhraseRef, parse_phrase
from ..prompt.tokens import Span
from ..ranges import MAX_TOKENS
from .cutout import CutOut
from .phrase import subject_phrase

MAX_WIDTH = 65536
ENCODER_KEY, FAMILY_KEY = "encoder", "family"
"""Keys of a residual's metadata: the text encoder that it was made for (see `TokenRows.encoder`), and the family."""
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True, eq=False)
class Residual:
    """A subject: its phrase and the vectors added to the conditioning at the phrase's tokens.

    subject: the phrase as users name it, such as "dog" or "dog#2".
    tensor: [token_num, d] float32 on the CPU.
    family: key of its model family, or "" when unknown.
    metadata: further facts from the file: method, steps, base model …
    strength: factor on the tensor, 1.0 as learned.
    occurrence: the one occurrence of the phrase it is for, from 1, where it was selected apart from the phrase.
    named_by_file: whether the subject is the name of its file, since nobody named it.
    cutouts: the subject out of its photos, 0 to 6 of them, for starts from the photos.
    encoder: the text encoder whose rows it changes, as `TokenRows` names it, or "" when unknown.
    """

    subject: str
    tensor: Tensor
    family: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    strength: float = 1.0
    occurrence: int | None = None
    named_by_file: bool = False
    cutouts: tuple[CutOut, ...] = ()
    encoder: str = ""

    @property
    def reference(self) -> PhraseRef:
        """The phrase and occurrence it is for. Raises PromptError for a subject without words."""
        if self.named_by_file:
            return parse_phrase(self.subject).come_from("file name")
        if self.occurrence is None:
            return parse_phrase(self.subject)
        return PhraseRef(self.subject, self.occurrence)

    @property
    def label(self) -> str:
        """The subject as files hold it and users type it: "dog", or "dog#2"."""
        return self.subject if self.occurrence is None else f"{self.subject}#{self.occurrence}"

    @property
    def token_num(self) -> int:
        """Number of tokens the residual covers."""
        return int(self.tensor.shape[0])

    @property
    def width(self) -> int:
        """Columns d of the conditioning it fits."""
        return int(self.tensor.shape[1])

    def with_reference(self, reference: PhraseRef) -> Residual:
        """The same vectors for another phrase, or another of its occurrences."""
        return replace(self, subject=reference.phrase, occurrence=reference.occurrence, named_by_file=False)

    def with_strength(self, strength: float) -> Residual:
        """The same vectors with another factor."""
        return replace(self, strength=strength)

    def for_encoder(self, encoder: str) -> Residual:
        """The same vectors for another text encoder, named as `TokenRows` names it.

        Raises ResidualError for a name that no family has for rows of this width.
        """
        family = family_of_rows(TokenRows(encoder, self.width), self.metadata.get(FAMILY_KEY, ""))
        if family is None:
            known = encoders_of_width(self.width)
            there = f"those of its width are: {listed(known)}" if known else "none that is known has its width"
            raise ResidualError(
                f'the residual "{self.subject}", {self.width} wide, does not fit a text encoder '
                f'"{shown(encoder, 80)}": {there}'
            )
        return replace(self, encoder=encoder, family=family.key)

    def with_cutouts(self, cutouts: Sequence[CutOut]) -> Residual:
        """The same vectors with other cut-outs."""
        return replace(self, cutouts=tuple(cutouts))

    def at(self, claim: Claim, width: int | None = None) -> PlacedResidual:
        """The residual at the tokens that its phrase owns in a prompt; width: as in `PlacedResidual`."""
        return PlacedResidual(self, claim.spans, width)


class PlacedResidual(NamedTuple):
    """A residual at the tokens of a prompt.

    spans: row i of the residual goes to the i-th token of each.
    width: columns of its text encoder's rows, which zeros may fill up to the conditioning's; None: the conditioning
        is of Stable Diffusion's kin, whose width tells the encoder.
    """

    residual: Residual
    spans: Sequence[Span]
    width: int | None = None

    @property
    def concept(self) -> Residual:
        """The residual, as the kind of concept that it is."""
        return self.residual

    @property
    def cutouts(self) -> tuple[CutOut, ...]:
        """The residual's own."""
        return self.residual.cutouts

    def change_rows(self, rows: Tensor) -> None:
        """Add the residual to the conditioning [..., L, d], float32, at its tokens, in place (equation 2).

        Raises ResidualError when it has more rows than the phrase has tokens, another width, or a token
        lies outside the conditioning.
        """
        residual = self.residual
        check_width(residual, rows.shape[-1] if self.width is None else self.width)
        if self.width is None and (family := family_of_width(residual.width)) is not None:
            rows_for(residual, family, family.token_rows, residual.width)
        for span in self.spans:
            _check_span(residual, span, rows.shape[-2])
        vectors = (residual.tensor * residual.strength).to(rows.device)
        for span in self.spans:
            for vector, index in zip(vectors, span, strict=False):
                rows[..., index, : residual.width] += vector


def make_residual(subject: str, tensor: Tensor, metadata: Mapping[str, str] | None = None) -> Residual:
    """A residual from a tensor [token_num, d] or [d] of any float type, checked.

    Its metadata says the text encoder that it is for; without it the family there does where that has one of this
    width, and else the width, for Stable Diffusion and its kin.
    Raises ResidualError for a subject that is not a phrase (see `subject_phrase`), another rank or type,
    too many tokens, or values that are not finite.
    """
    vectors, phrase = plain_vectors(tensor), subject_phrase(subject, ResidualError)
    facts = dict(metadata or {})
    width = vectors.shape[1]
    encoder = facts.get(ENCODER_KEY, "") or _encoder_of_family(facts.get(FAMILY_KEY, ""), width)
    family = family_of_rows(TokenRows(encoder, width), facts.get(FAMILY_KEY, "")) if encoder else family_of_width(width)
    if family is not None and not encoder:
        encoder = family.token_rows[0].encoder
    return Residual(phrase, vectors, family.key if family else "", facts, encoder=encoder)


def _encoder_of_family(key: str, width: int) -> str:
    """The only text encoder of a family that gives rows of a width; "" where there is not exactly one."""
    family = family_of_key(key)
    found = [rows.encoder for rows in family.token_rows if rows.width == width] if family else []
    return found[0] if len(found) == 1 else ""


def plain_vectors(tensor: Tensor) -> Tensor:
    """The tensor as a residual holds it: a float32 copy [token_num, d] on the CPU. Raises as `make_residual` does."""
    if tensor.layout != torch.strided or tensor.dtype not in _DTYPES:
        raise ResidualError(
            f"its tensor holds {str(tensor.dtype).removeprefix('torch.')} numbers, expected floating point"
        )
    if tensor.ndim not in (1, 2):
        raise ResidualError(f"its tensor has shape {shown(tuple(tensor.shape), 80)}, expected (tokens, width)")
    tokens, width = (1, tensor.shape[0]) if tensor.ndim == 1 else tensor.shape
    if not (1 <= tokens <= MAX_TOKENS and 1 <= width <= MAX_WIDTH):
        raise ResidualError(
            f"its tensor has shape {tuple(tensor.shape)}, expected 1–{MAX_TOKENS} tokens by 1–{MAX_WIDTH} columns"
        )
    plain = tensor.detach().to("cpu", torch.float32).reshape(tokens, width).clone().contiguous()
    if not torch.isfinite(plain).all():
        raise ResidualError("its tensor holds values that are not numbers (NaN or infinity)")
    return plain


def check_width(residual: Residual, width: int) -> None:
    """Raise ResidualError when the residual does not fit a model whose conditioning is `width` wide."""
    if residual.width != width:
        raise ResidualError(
            f'the residual "{residual.subject}" is {width_label(residual.width)} '
            f"but this model's text conditioning is {width_label(width)}"
        )


def rows_for(residual: Residual, family: ModelFamily, rows: Sequence[TokenRows], width: int) -> TokenRows:
    """Which rows of a prompt's conditioning, `width` wide, a residual is for.

    rows: those of the family that the conditioning has. Raises ResidualError where it has none of the residual's text
    encoder, or of another width.
    """
    if family.is_told_by_width:
        check_width(residual, width)
        if not residual.encoder:
            return rows[0]
    encoders = " and ".join(each.encoder for each in rows)
    if not rows:
        raise ResidualError(
            f"residuals are added to what a text encoder gives, and {family.label} makes rows of its own from it: use "
            "a layout without residuals"
        )
    if not residual.encoder:
        wide = [each.encoder for each in rows if each.width == residual.width]
        command = "python -m cones2 residual convert IN OUT --encoder"
        remedy = f"; if it is for that, say so: {command} {wide[0]}" if wide else ""
        raise ResidualError(
            f'the residual "{residual.subject}" does not say which text encoder it was made for, and its '
            f"{residual.width} columns do not tell: this prompt was encoded by {encoders} ({family.label}){remedy}"
        )
    fitting = [each for each in rows if each.encoder == residual.encoder]
    if not fitting:
        raise ResidualError(
            f'the residual "{residual.subject}" was made for the text encoder {shown(residual.encoder, 80)}, but this '
            f"prompt was encoded by {encoders} ({family.label})"
        )
    check_width(residual, fitting[0].width if fitting[0].width < family.width else width)
    return fitting[0]


def _check_span(residual: Residual, span: Span, length: int) -> None:
    if residual.token_num > len(span):
        raise ResidualError(
            f'the residual "{residual.subject}" covers {residual.token_num} tokens '
            f"but its phrase has only {len(span)} in this prompt"
        )
    if any(not 0 <= index < length for index in span):
        raise ResidualError(f'"{residual.subject}" is at tokens {list(span)} of a conditioning of {length} tokens')
