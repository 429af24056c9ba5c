"""Colors of a layout picture: parsing what users type and matching what files contain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ..errors import LayoutError
from ..messages import shown

RGB: TypeAlias = tuple[int, int, int]

# Antialiased and JPEG edges stray from the painted color by less than this Euclidean RGB
# distance (JPEG quality 75 of pure primaries: 45 at most inside a region, more on its edge).
DEFAULT_TOLERANCE = 96.0

_LONGEST_COLOR = 100  # characters
_EXACT = 3.0  # distance up to which a pixel is the color itself, not a blend of two others
_GRAY_SPREAD = 24  # difference of the channels up to which a color counts as gray
_CHUNK = 1 << 16  # distinct colors measured at a time
_TRIPLE = re.compile(r"\(?\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)?")


def parse_color(text: str) -> RGB:
    """RGB (each 0–255) of "255,0,0", "#f00", "#ff0000" or a CSS color name.

    Raises LayoutError naming the text and the accepted forms.
    """
    typed = text.strip()
    triple = _TRIPLE.fullmatch(typed)
    color = tuple(int(part) for part in triple.groups()) if triple else _css_color(typed)
    if color is None or max(color) > 255:
        raise LayoutError(
            f'"{shown(text)}" is not a color: write "255,0,0" (each 0–255), "#f00", "#ff0000" '
            'or a CSS name such as "red"'
        )
    red, green, blue = color
    return red, green, blue


def _css_color(text: str) -> tuple[int, ...] | None:
    if len(text) > _LONGEST_COLOR or text.isdigit():
        return None
    try:
        color = ImageColor.getrgb(text.lower())[:3]
    except (ValueError, OverflowError):
        return None
    return color if min(color) >= 0 else None


def color_name(color: RGB) -> str:
    """The color the way messages show it: "#ff0000"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def nearest_color(pixels: NDArray[np.uint8], colors: Sequence[RGB], tolerance: float) -> NDArray[np.int64]:
    """Index of the nearest table color per pixel, −1 where none lies within `tolerance`.

    pixels: [H, W, 3]; tolerance: Euclidean distance in RGB, 0 (exact) to 442. Result: [H, W].
    A pixel nearer to black or white than to every table color is background.
    """
    palette = np.array([*colors, *_background(colors)], dtype=np.int32)
    # Layouts have few distinct colors: measure each once instead of each pixel.
    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)
    distinct, inverse = np.unique(packed, return_inverse=True)
    nearest = np.concatenate(
        [
            _nearest_of(distinct[start : start + _CHUNK], palette, len(colors), tolerance)
            for start in range(0, len(distinct), _CHUNK)
        ]
    )
    return nearest[inverse].reshape(pixels.shape[:2])


def _nearest_of(
    packed: NDArray[np.int32], palette: NDArray[np.int32], table: int, tolerance: float
) -> NDArray[np.int64]:
    """Index of the nearest of the first `table` palette colors for each packed color, else −1."""
    values = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.float32)
    colors = palette.astype(np.float32)
    # |v - c|², without a difference per channel; all terms are whole numbers that float32 holds exactly
    squared = (values**2).sum(-1, keepdims=True) + (colors**2).sum(-1) - 2 * values @ colors.T
    nearest = squared.argmin(-1)
    return np.where((squared.min(-1) <= tolerance**2) & (nearest < table), nearest, -1)


def prominent_colors(
    pixels: NDArray[np.uint8], chosen: NDArray[np.bool_], least_share: float = 0.005
) -> list[tuple[RGB, float]]:
    """Colors of the chosen pixels that fill at least `least_share` of the picture, largest first.

    Near shades are counted together (5 bits a channel); black, white and grays are left out as
    background. Each comes with its share of the whole picture (0–1).
    """
    flat = pixels[chosen]
    if not flat.size:
        return []
    shades = (flat >> 3).astype(np.int32) @ np.array([1024, 32, 1], dtype=np.int32)
    counts = np.bincount(shades)
    found: list[tuple[RGB, float]] = []
    for shade in np.argsort(-counts, kind="stable"):
        share = float(counts[shade]) / chosen.size
        if share < least_share:
            break
        red, green, blue = np.median(flat[shades == shade], axis=0).astype(int).tolist()
        if max(red, green, blue) - min(red, green, blue) > _GRAY_SPREAD:
            found.append(((red, green, blue), share))
    return found


def without_fringe(mask: NDArray[np.bool_], pixels: NDArray[np.uint8], color: RGB) -> NDArray[np.bool_]:
    """The mask [H, W] of a color without thin seams: where red meets yellow, blended pixels look orange.

    Thin strokes in the color itself stay; a blend may hit it too, but only here and there. Only the part of
    the picture around the mask is looked at: regions are small, pictures large.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return mask
    part = slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)
    whole = np.zeros_like(mask)
    whole[part] = _without_seams(mask[part], pixels[part], color)
    return whole


def _without_seams(mask: NDArray[np.bool_], pixels: NDArray[np.uint8], color: RGB) -> NDArray[np.bool_]:
    exact = np.zeros_like(mask)
    exact[mask] = ((pixels[mask].astype(np.int32) - np.array(color, dtype=np.int32)) ** 2).sum(-1) <= _EXACT**2
    strokes = exact & (_neighbors(exact) >= 2)
    opened = _over_neighbors(np.logical_or, _over_neighbors(np.logical_and, mask))
    kept: NDArray[np.bool_] = strokes | (opened & mask)
    return kept if kept.any() else mask


def _over_neighbors(combine: np.ufunc, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each cell combined with its 8 neighbors; the picture's edge is repeated beyond it."""
    padded = np.pad(mask, 1, mode="edge")
    rows = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
    around: NDArray[np.bool_] = combine(combine(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return around


def _neighbors(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many of each cell's 8 neighbors are set."""
    padded = np.pad(mask.astype(np.uint8), 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    around: NDArray[np.uint8] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - mask
    return around


def listed_colors(colors: Sequence[tuple[RGB, float]]) -> str:
    """Colors and their shares as messages show them: "#ff0000 (12%), #0000ff (3%)"."""
    if not colors:
        return "only black, white and gray"
    return ", ".join(f"{color_name(color)} ({share:.0%})" for color, share in colors[:8])


def _background(colors: Sequence[RGB]) -> list[RGB]:
    return [gray for gray in ((255, 255, 255), (0, 0, 0)) if gray not in colors]
