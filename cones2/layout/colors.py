"""Colors of a layout picture: parsing what users type and matching what files contain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ..errors import LayoutError

RGB: TypeAlias = tuple[int, int, int]

# Antialiased and JPEG edges stray from the painted color by less than this Euclidean RGB
# distance (JPEG quality 75 of pure primaries: 45 at most inside a region, more on its edge).
DEFAULT_TOLERANCE = 96.0

_TRIPLE = re.compile(r"\(?\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)?")


def parse_color(text: str) -> RGB:
    """RGB (each 0–255) of "255,0,0", "#f00", "#ff0000" or a CSS color name.

    Raises LayoutError naming the text and the accepted forms.
    """
    triple = _TRIPLE.fullmatch(text.strip())
    if triple:
        red, green, blue = (int(part) for part in triple.groups())
        if max(red, green, blue) <= 255:
            return red, green, blue
    elif not text.strip().isdigit():
        try:
            return ImageColor.getrgb(text.strip().lower())[:3]
        except ValueError:
            pass
    raise LayoutError(
        f'"{text}" is not a color: write "255,0,0" (each 0–255), "#f00", "#ff0000" or a CSS name such as "red"'
    )


def color_name(color: RGB) -> str:
    """The color the way messages show it: "#ff0000"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def nearest_color(pixels: NDArray[np.uint8], colors: Sequence[RGB], tolerance: float) -> NDArray[np.int64]:
    """Index of the nearest table color per pixel, −1 where none lies within `tolerance`.

    pixels: [H, W, 3]; tolerance: Euclidean distance in RGB, 0 (exact) to 441. Result: [H, W].
    A pixel nearer to black or white than to every table color is background.
    """
    palette = np.array([*colors, *_background(colors)], dtype=np.int32)
    # Layouts have few distinct colors: measure each once instead of each pixel.
    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)
    distinct, inverse = np.unique(packed, return_inverse=True)
    values = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=-1)
    squared = ((values[:, None, :] - palette[None]) ** 2).sum(-1)
    nearest = squared.argmin(-1)
    matched = (squared.min(-1) <= tolerance**2) & (nearest < len(colors))
    return np.where(matched, nearest, -1)[inverse].reshape(pixels.shape[:2])


def prominent_colors(
    pixels: NDArray[np.uint8], chosen: NDArray[np.bool_], least_share: float = 0.005
) -> list[tuple[RGB, float]]:
    """Colors of the chosen pixels that fill at least `least_share` of the picture, largest first.

    Near shades are counted together (5 bits a channel); black, white and grays are left out as
    background. Each comes with its share of the whole picture (0–1).
    """
    flat = pixels[chosen].astype(np.int32)
    if not flat.size:
        return []
    packed = (flat >> 3) @ np.array([1024, 32, 1], dtype=np.int32)
    _, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    total = chosen.size
    found: list[tuple[RGB, float]] = []
    for index in np.argsort(-counts, kind="stable"):
        share = float(counts[index]) / total
        if share < least_share:
            break
        red, green, blue = np.median(flat[inverse == index], axis=0).astype(int).tolist()
        if max(red, green, blue) - min(red, green, blue) > 24:
            found.append(((red, green, blue), share))
    return found


def _background(colors: Sequence[RGB]) -> list[RGB]:
    return [gray for gray in ((255, 255, 255), (0, 0, 0)) if gray not in colors]
