"""What may change the scores of an attention layer while sampling, as one list of terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from .features import Gains
from .heat_maps import Observer


class AttentionTerm(Protocol):
    """One additive change of a layer's scores, such as a layout's."""

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor) -> Tensor:
        """Attention mask [B, 1, N, L], already scaled by d_head^-½, in q's dtype.

        q: [B, heads, N, d]. k: [B, heads, L, d].
        grid: (height, width) of the layer, N = height · width.
        growth: how much the noise level of the pass counts (see `cones2.sampling.noise`), a number or [B].
        """
        ...


class LowRankTerm(AttentionTerm, Protocol):
    """A term with one column for all tokens of a subject, which joint attention can take as extra features."""

    def gains(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor) -> Gains:
        """What cells gain on tokens, before scores are scaled by d_head^-½.

        q: of the picture's cells alone, [B, heads, N, d]. k: of the prompt's own tokens alone, without pads and
        picture, [B, heads, L, d]: their scores are those whose deviation the term is measured in.
        grid: (height, width), N = height · width. growth: as for `bias`.
        """
        ...


def total_bias(
    terms: Sequence[AttentionTerm], q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor
) -> Tensor | None:
    """The sum of all terms [B, 1, N, L]; None without terms."""
    biases = [term.bias(q, k, grid, growth) for term in terms]
    return sum(biases[1:], biases[0]) if biases else None


class AddedPart(Protocol):
    """What something else than text adds to each cross-attention layer, such as subjects' pictures."""

    def added(self, number: int, attn: Any, q: Tensor, h: Tensor, grid: tuple[int, int]) -> Tensor:
        """The part of layer `number`, in the order of the blocks down, up, middle: [B, N, C] in h's dtype.

        attn: the layer. q: [B, heads, N, d]. h: its plain text attention with heads merged, [B, N, C].
        grid: (height, width), N = height · width.
        """
        ...


@dataclass(frozen=True, eq=False)
class AttentionPass:
    """What the cross-attention layers do in one forward pass whose batch entries are all positive.

    terms: what changes their scores. growth: of the noise levels, a number or [B].
    observer: called by each layer. pictures: what subjects' pictures add to each layer.
    """

    terms: Sequence[AttentionTerm] = ()
    growth: float | Tensor = 0.0
    observer: Observer | None = None
    pictures: AddedPart | None = None
