"""Which reference picture belongs where: the layout's term on what cells read of reference pictures.

Edit models take pictures as further tokens of the sequence, and nothing says which of them goes where. Personalize
Anything (arXiv 2503.12590), ContextGen (2510.11000) and LayerComposer (2510.20820) place them by training or by
replacing tokens, CAG (2602.03448) by attention. Here the term of Cones 2 holds between cells and a picture's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..layout.regions import Layout, Region
from .cross_attention import score_std
from .features import SCORE_LIMIT, Gains
from .settings import DEFAULT_REFERENCE_WEIGHT
from .weight_maps import WeightMaps, weight_maps


def picture_maps(layout: Layout, pictures: Sequence[int | None]) -> WeightMaps | None:
    """Weights of the reference pictures that regions are bound to; None when none is.

    pictures: the number of each region's picture, from 1. In the result they stand in the place of token indices.
    A picture is closed everywhere outside its regions, also where nobody's region is.
    """
    bound: list[tuple[Region, int]] = [
        (region, picture) for region, picture in zip(layout.regions, pictures, strict=True) if picture is not None
    ]
    if not bound:
        return None
    regions = tuple(region for region, _ in bound)
    return weight_maps(Layout(regions, layout.height, layout.width), [[(picture,)] for _, picture in bound])


@dataclass(frozen=True, eq=False)
class ReferenceBias:
    """Binds reference pictures to regions: a region's cells read its own picture more, all other cells do not read it.

    maps: of `picture_maps`. weight: g; the same at every noise level.
    Pictures that no region is bound to, and what pictures read themselves, stay as they are.
    """

    maps: WeightMaps
    weight: float = DEFAULT_REFERENCE_WEIGHT

    @property
    def pictures(self) -> tuple[int, ...]:
        """The numbers of the bound pictures."""
        return self.maps.token_indices

    def gains(self, q: Tensor, k: Tensor, grid: tuple[int, int], tokens: Sequence[Sequence[int]]) -> Gains:
        """What cells gain on the tokens of each bound picture.

        q: of the picture's cells, [B, heads, N, d]. k: of the bound pictures alone, [B, heads, M, d].
        tokens: where those of each of `pictures` stand among all keys.
        """
        factor = score_std(q, k) * self.weight
        cells = factor[:, None, None] * self.maps.groups_at(*grid, device=q.device)
        return Gains(cells.clamp_(-SCORE_LIMIT, SCORE_LIMIT), tuple(tokens))
