"""Weight maps of the part of the picture that a window over one axis of the latents shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from .weight_maps import WeightImage, WeightMaps


def select_cells(maps: WeightMaps, axis: Literal[0, 1], indices: Sequence[int], total: int) -> WeightMaps:
    """The weights at some latent rows (axis 0) or columns (axis 1), in the order of `indices`.

    indices: each from 0 to total − 1; they may leave gaps or wrap around the edge.
    total: latent rows or columns of the whole picture.
    A region that lies wholly elsewhere is not kept alive: there its subject weighs what it weighs outside.
    """
    return WeightMaps(tuple(_select(image, axis, indices, total) for image in maps.images))


def _select(image: WeightImage, axis: int, indices: Sequence[int], total: int) -> WeightImage:
    cells = _cells(indices, total, image.image.shape[axis])
    regions = tuple(replace(region, mask=region.mask.index_select(axis, cells)) for region in image.regions)
    kept = tuple(region for region in regions if region.mask.any())
    return WeightImage(image.image.index_select(axis, cells), image.token_indices, kept)


def _cells(indices: Sequence[int], total: int, size: int) -> Tensor:
    """The layout's cells, of `size`, below each index of `total`; at least one for each index."""
    cells: list[int] = []
    for index in indices:
        first = min(round(index * size / total), size - 1)
        cells += range(first, max(first + 1, round((index + 1) * size / total)))
    return torch.tensor(cells)
