"""Photos drawn smaller and larger, with words that say so (Custom Diffusion, section 3.1; the published code)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_FAR = ("a far away ", "very small ")
_NEAR = ("zoomed in ", "close up ")
_FAR_BELOW = 0.6  # of the size: smaller pictures are pasted on gray, others of less than the size stay as they are
_NEAR_SIZES = (1.2, 1.4)


class Draw(NamedTuple):
    """What is done to one photo.

    side: pixels to which it is resized.
    words: in front of the caption.
    row, column: center of the pasted or the cropped square, in pixels.
    flipped: mirrored first.
    """

    side: int
    words: str = ""
    row: int = 0
    column: int = 0
    flipped: bool = False

    def is_far(self, size: int) -> bool:
        """Whether the photo is pasted smaller than the picture."""
        return self.side < _FAR_BELOW * size

    def is_near(self, size: int) -> bool:
        """Whether only a part of the photo is in the picture."""
        return self.side > size


class Augmented(NamedTuple):
    """A training picture: pixels [3, S, S] in −1 … 1, and where the loss counts, [1, s, s] of latent cells."""

    pixels: Tensor
    mask: Tensor


def draw_augmentation(size: int, generator: torch.Generator, flip: bool = False, augment: bool = True) -> Draw:
    """A draw for pictures of this size: two times in three smaller or equal, else larger; as they are without."""
    flipped = flip and _below(2, generator) == 1
    if not augment:
        return Draw(size, flipped=flipped)
    if _below(3, generator) < 2:
        side = size // 3 + _below(size + 1 - size // 3, generator)
    else:
        low, high = (int(share * size) for share in _NEAR_SIZES)
        side = low + _below(high - low, generator)
    side += side % 2
    draw = Draw(side, flipped=flipped)
    if draw.is_far(size):
        half, words = side // 2, _FAR[_below(2, generator)]
        row, column = (half + _below(size - 2 * half + 1, generator) for _ in range(2))
    elif draw.is_near(size):
        words = _NEAR[_below(2, generator)]
        row, column = (size // 2 + _below(side - size + 1, generator) for _ in range(2))
    else:
        return Draw(size, flipped=flipped)
    return Draw(side, words, row, column, flipped)


def augmented(picture: Image.Image, size: int, draw: Draw, cells: int) -> Augmented:
    """The photo as drawn, squeezed to a square.

    picture: mode "RGB". size: pixels of the result. cells: latent cells of its side. Of a picture pasted smaller the
    loss counts inside alone, its border cells left out.
    """
    source = ImageOps.mirror(picture) if draw.flipped else picture
    half, middle = draw.side // 2, size // 2
    if draw.is_far(size):
        pixels = torch.zeros(3, size, size)
        rows = slice(draw.row - half, draw.row + half)
        columns = slice(draw.column - half, draw.column + half)
        pixels[:, rows, columns] = _pixels(source, 2 * half)
        return Augmented(pixels, _inside(draw, size, cells))
    if draw.is_near(size):
        rows = slice(draw.row - middle, draw.row - middle + size)
        columns = slice(draw.column - middle, draw.column - middle + size)
        return Augmented(_pixels(source, draw.side)[:, rows, columns], torch.ones(1, cells, cells))
    return Augmented(_pixels(source, size), torch.ones(1, cells, cells))


def _inside(draw: Draw, size: int, cells: int) -> Tensor:
    """The cells of the pasted square without those of its border; one cell where nothing else is left."""
    unit, half = size // cells, draw.side // 2
    mask = torch.zeros(1, cells, cells)
    (top, bottom), (left, right) = (
        ((center - half) // unit + 1, (center + half) // unit - 1) for center in (draw.row, draw.column)
    )
    mask[:, top:bottom, left:right] = 1
    if not mask.any():
        mask[:, min(draw.row // unit, cells - 1), min(draw.column // unit, cells - 1)] = 1
    return mask


def _pixels(picture: Image.Image, side: int) -> Tensor:
    """[3, side, side] in −1 … 1."""
    resized = picture.resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=generator))
