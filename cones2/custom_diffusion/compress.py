"""Smaller deltas: differences as products of low rank."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import DeltaError
from .changes import Change, LowRank
from .delta import Delta
from .fit import as_difference
from .layers import is_key_or_value

DEFAULT_RATIO = 0.6
"""Share of the singular values' sum that the published command keeps."""

_NOISE = 1e-6  # singular values below this share of the largest are rounding


def compress(delta: Delta, base: Mapping[str, Tensor], ratio: float = DEFAULT_RATIO) -> Delta:
    """The delta with each key and value matrix as a product; queries and outputs stay as they are.

    base: the weights it was trained from, by diffusers name. ratio: see `rank_of`, above 0 to 1.
    Raises DeltaError for a ratio out of range, or a base that lacks a weight or has another shape.
    """
    if not 0 < ratio <= 1:
        raise DeltaError(f"the ratio is {ratio:g}: it must be above 0, up to 1")
    kept = {name: change for name, change in delta.weights.items() if not is_key_or_value(name)}
    matrices = delta.with_weights({name: change for name, change in delta.weights.items() if name not in kept})
    weights: dict[str, Change] = {}
    for name, change in as_difference(matrices, base).weights.items():
        product = change.difference(base[name]) if isinstance(change, LowRank) else change.tensor
        weights[name] = _truncated(product, ratio)
    return delta.with_weights({**weights, **kept})


def rank_of(singular_values: Tensor, ratio: float) -> int:
    """How many singular values are kept: those before the running share of their sum first exceeds the ratio.

    The value that crosses it is left out, as published; all but the last at 1.
    """
    if not float(singular_values.sum()):
        return 0
    share = singular_values.double().cumsum(0) / singular_values.double().sum()
    crossing = (share > ratio).nonzero()
    return int(crossing[0]) if len(crossing) else len(singular_values) - 1


def factored(difference: Tensor) -> LowRank:
    """A difference [out, in] as an exact product of the rank that it has."""
    u, values, v = _svd(difference)
    rank = int((values > _NOISE * values.max()).sum()) if values.numel() and float(values.max()) else 0
    return LowRank((u[:, :rank] * values[:rank]).contiguous(), v[:rank].contiguous())


def _svd(difference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    try:
        u, values, v = torch.linalg.svd(difference.float(), full_matrices=False)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise DeltaError("a difference has no singular values: its numbers are too large or not finite") from error
    return u, values, v


def _truncated(difference: Tensor, ratio: float) -> LowRank:
    u, values, v = _svd(difference)
    rank = rank_of(values, ratio)
    return LowRank((u[:, :rank] * values[:rank]).contiguous(), v[:rank].contiguous())
