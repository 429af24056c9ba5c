"""What may change the scores of an attention layer while sampling, as one list of terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class AttentionTerm(Protocol):
    """One additive change of a layer's scores, such as a layout's."""

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor) -> Tensor:
        """Attention mask [B, 1, N, L], already scaled by d_head^-½, in q's dtype.

        q: [B, heads, N, d]. k: [B, heads, L, d].
        grid: (height, width) of the layer, N = height · width.
        growth: how much the noise level of the pass counts (see `cones2.sampling.noise`), a number or [B].
        """
        ...


def total_bias(
    terms: Sequence[AttentionTerm], q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor
) -> Tensor | None:
    """The sum of all terms [B, 1, N, L]; None without terms."""
    biases = [term.bias(q, k, grid, growth) for term in terms]
    return sum(biases[1:], biases[0]) if biases else None
