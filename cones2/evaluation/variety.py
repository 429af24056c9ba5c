"""How different one subject's poses are from seed to seed: the distance of its silhouettes.

A silhouette is the object's outline cut tight and scaled to one grid, so that neither its place nor its size counts,
only its form: turned, mirrored, bent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..layout.grid import coverage

SIDE = 16
"""Cells of a silhouette's side."""

_HALF = 0.5


def silhouette(cells: Tensor) -> str:
    """The outline of what is set in a mask [H, W] that is not empty: 64 hexadecimal digits, row by row."""
    rows, columns = cells.any(1).nonzero()[:, 0], cells.any(0).nonzero()[:, 0]
    tight = cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    filled = (coverage(tight, SIDE, SIDE) > _HALF).flatten().numpy()
    return np.packbits(filled).tobytes().hex()


def variety(groups: Iterable[Sequence[str]]) -> float | None:
    """Mean distance of all pairs of silhouettes within each group, over all groups: 0–1; None without a pair.

    The distance is 1 − intersection over union: 0 for the same, 1 for nothing in common.
    groups: of each subject of a scene, its silhouettes.
    """
    total, pairs = 0.0, 0
    for group in groups:
        filled = np.stack([_filled(one) for one in group])
        both, sizes = filled @ filled.T, filled.sum(1)
        either = sizes[:, None] + sizes[None] - both
        distances = (1 - both / np.maximum(either, 1))[np.triu_indices(len(group), 1)]
        total, pairs = total + float(distances.sum()), pairs + len(distances)
    return total / pairs if pairs else None


def _filled(text: str) -> NDArray[np.float64]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(np.float64)
