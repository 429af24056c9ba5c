"""Residual embeddings: what makes a class word one specific subject (Cones 2, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import ResidualError
from ..families.family import family_of_width, width_label
from .phrase import subject_phrase

MAX_TOKENS = 75
MAX_WIDTH = 8192
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True, eq=False)
class Residual:
    """A subject: its phrase and the vectors added to the conditioning at the phrase's tokens."""

    subject: str
    """The phrase, such as "dog"."""
    tensor: Tensor
    """[token_num, d] float32 on the CPU."""
    family: str = ""
    """"sd1", "sd2", "sdxl", or "" when unknown."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further facts from the file: method, steps, base model …"""
    strength: float = 1.0
    """Factor on the tensor, 1.0 as learned."""

    @property
    def token_num(self) -> int:
        """Number of tokens the residual covers."""
        return int(self.tensor.shape[0])

    @property
    def width(self) -> int:
        """Columns d of the conditioning it fits."""
        return int(self.tensor.shape[1])

    def with_subject(self, subject: str) -> Residual:
        """The same vectors for another phrase."""
        return replace(self, subject=subject)

    def with_strength(self, strength: float) -> Residual:
        """The same vectors with another factor."""
        return replace(self, strength=strength)


def make_residual(subject: str, tensor: Tensor, metadata: Mapping[str, str] | None = None) -> Residual:
    """A residual from a tensor [token_num, d] or [d] of any float type, checked.

    Raises ResidualError for a subject that is not a phrase (see `subject_phrase`), another rank or type,
    too many tokens, or values that are not finite.
    """
    phrase, vectors = subject_phrase(subject, ResidualError), plain_vectors(tensor)
    family = family_of_width(vectors.shape[1])
    return Residual(phrase, vectors, family.key if family else "", dict(metadata or {}))


def plain_vectors(tensor: Tensor) -> Tensor:
    """The tensor as a residual holds it: a float32 copy [token_num, d] on the CPU. Raises as `make_residual` does."""
    if tensor.layout != torch.strided or tensor.dtype not in _DTYPES:
        raise ResidualError(
            f"its tensor holds {str(tensor.dtype).removeprefix('torch.')} numbers, expected floating point"
        )
    if tensor.ndim not in (1, 2):
        raise ResidualError(f"its tensor has shape {tuple(tensor.shape)}, expected (tokens, width)")
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


def add_residuals(conditioning: Tensor, placements: Sequence[tuple[Residual, Sequence[Sequence[int]]]]) -> Tensor:
    """A copy of the conditioning with each residual added at its tokens (equation 2).

    conditioning: [..., L, d]. placements: residuals with the rows of each occurrence of their
    phrase; row i of the residual goes to the occurrence's i-th row. Computed in float32.
    Raises ResidualError when a residual has more rows than the phrase has tokens, another width,
    or a row lies outside the conditioning.
    """
    result = conditioning.float()
    result = result.clone() if result is conditioning else result
    for residual, occurrences in placements:
        check_width(residual, conditioning.shape[-1])
        vectors = (residual.tensor * residual.strength).to(result.device)
        for rows in occurrences:
            _check_rows(residual, rows, conditioning.shape[-2])
            for vector, row in zip(vectors, rows, strict=False):
                result[..., row, :] += vector
    return result.to(conditioning.dtype)


def _check_rows(residual: Residual, rows: Sequence[int], length: int) -> None:
    if residual.token_num > len(rows):
        raise ResidualError(
            f'the residual "{residual.subject}" covers {residual.token_num} tokens '
            f"but its phrase has only {len(rows)} in this prompt"
        )
    if any(not 0 <= row < length for row in rows):
        raise ResidualError(f'"{residual.subject}" is at rows {list(rows)} of a conditioning of {length} rows')
