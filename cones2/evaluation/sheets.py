"""Contact sheets: pictures side by side, each with its regions dotted in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..layout.drawing import PALETTE, grid
from ..storage.images import open_photo
from .cases import Case

SHOWN = 32
"""Pictures on a sheet: the first ones, not chosen."""
_COLUMNS, _ZOOM = 8, 2


def contact_sheet(pictures: Sequence[tuple[Path, Case]]) -> Image.Image:
    """The first pictures (files) of some cases, twice their size, in rows of eight; there is at least one."""
    cells = [_dotted(open_photo(path), case) for path, case in pictures[:SHOWN]]
    return grid(cells, min(len(cells), _COLUMNS))


def _dotted(picture: Image.Image, case: Case) -> Image.Image:
    larger = picture.resize((picture.width * _ZOOM, picture.height * _ZOOM), Image.Resampling.NEAREST)
    pixels = np.array(larger)
    for index, subject in enumerate(case.subjects):
        if isinstance(subject.place, Tensor):
            mask = Image.fromarray(subject.place.numpy()).resize(larger.size, Image.Resampling.NEAREST)
            pixels[_outline(np.asarray(mask))] = PALETTE[index % len(PALETTE)]
    return Image.fromarray(pixels)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Every other pixel of the mask's inner edge: bool [H, W]."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rows, columns = np.indices(mask.shape)
    dotted: np.ndarray = mask & ~inner & ((rows + columns) // 2 % 2 == 0)
    return dotted
