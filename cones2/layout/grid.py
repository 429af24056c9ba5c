"""Masks on coarser grids."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LONGEST_SIDE = 2048
"""Cells of a layout's longer side at most: no attention grid is finer, and larger masks only cost memory."""


def canvas_within(height: int, width: int) -> tuple[int, int]:
    """The (height, width) of the same proportions whose longer side is at most 2048 cells."""
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_set(mask: Tensor, height: int, width: int) -> Tensor:
    """A bool mask [H, W] sampled at the centers of a `height` × `width` grid; a set that has cells keeps one."""
    mask = mask.cpu()
    if mask.shape == (height, width):
        return mask
    sampled = mask[_centers(mask.shape[0], height)][:, _centers(mask.shape[1], width)]
    if sampled.any() or not mask.any():
        return sampled
    # a set thinner than the sampling step slipped between the samples
    kept = np.logical_or.reduceat(mask.numpy(), _starts(mask.shape[0], height), axis=0)
    return torch.from_numpy(np.logical_or.reduceat(kept, _starts(mask.shape[1], width), axis=1))


def coverage(mask: Tensor, height: int, width: int) -> Tensor:
    """Share of each cell of a `height` × `width` grid that lies inside the mask: [height, width] float64, 0–1."""
    rows = _overlaps(mask.shape[0], height)
    columns = _overlaps(mask.shape[1], width)
    return rows @ mask.to(rows.dtype) @ columns.T


def cells_of(start: float, extent: float, size: int) -> slice:
    """The cells of an axis that a fraction of it covers, never fewer than one."""
    first = min(round(start * size), size - 1)
    return slice(first, max(first + 1, round((start + extent) * size)))


def _centers(cells: int, parts: int) -> Tensor:
    """The cell of an axis at the center of each of `parts` equal intervals."""
    return ((torch.arange(parts, dtype=torch.float64) + 0.5) * cells / parts).long().clamp(max=cells - 1)


def _starts(cells: int, parts: int) -> NDArray[np.int64]:
    """The first cell of each of `parts` equal intervals of an axis."""
    return np.arange(parts) * cells // parts


def _overlaps(cells: int, parts: int) -> Tensor:
    """[parts, cells]: share of part i's interval that cell j fills, both dividing the same length."""
    edges = torch.arange(parts + 1, dtype=torch.float64) * cells / parts
    starts = torch.arange(cells, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    return overlap.clamp(min=0) * parts / cells
