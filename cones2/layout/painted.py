"""Layouts painted in colors: one color per subject."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..errors import LayoutError
from ..messages import shown
from ..storage.images import to_rgb
from .colors import DEFAULT_TOLERANCE, RGB, color_name, nearest_color, prominent_colors
from .grid import canvas_within
from .regions import DEFAULT_WEIGHT, Layout, Region, check_region_count

log = logging.getLogger(__name__)

_EXACT = 3.0  # RGB distance up to which a pixel is the color itself, not a blend of two others


class ColorEntry(NamedTuple):
    """One line of a color table.

    subject: its phrase as users name it, such as "dog" or "dog#2".
    weight: what its tokens gain inside.
    """

    color: RGB
    subject: str
    weight: float = DEFAULT_WEIGHT


def layout_from_colors(
    image: Image.Image,
    table: Sequence[ColorEntry],
    tolerance: float = DEFAULT_TOLERANCE,
) -> Layout:
    """Regions painted in color: each pixel belongs to the nearest table color within `tolerance`.

    image: any Pillow mode, transparency counts as white; reduced to 2048 cells a side.
    tolerance: Euclidean RGB distance, 0–442.
    Raises LayoutError for an empty table, a color listed twice, or colors the picture lacks
    (naming each with its subject and the colors present). Large areas of a color that no
    subject claims are logged as a warning.
    """
    check_color_table(table)
    pixels = rgb_pixels(image)
    labels = nearest_color(pixels, [entry.color for entry in table], tolerance)
    counts = np.bincount(labels[labels >= 0], minlength=len(table))
    _check_present(pixels, [entry for entry, count in zip(table, counts, strict=True) if not count], tolerance)
    if unclaimed := prominent_colors(pixels, labels < 0):
        log.warning("no subject claims these colors of the layout picture: %s", _listed(unclaimed))
    regions = []
    for index, entry in enumerate(table):
        mask = _without_fringe(labels == index, pixels, entry.color)
        regions.append(Region(entry.subject, torch.from_numpy(mask), entry.weight, entry.color))
    return Layout(tuple(regions), *labels.shape)


def check_color_table(table: Sequence[ColorEntry]) -> None:
    """Raise LayoutError when the table is empty or too long, or lists one color twice."""
    if not table:
        raise LayoutError("the color table is empty: give at least one color and its subject")
    check_region_count(len(table))
    subjects: dict[RGB, str] = {}
    for entry in table:
        if entry.color in subjects:
            raise LayoutError(
                f'{color_name(entry.color)} stands for both "{shown(subjects[entry.color])}" and '
                f'"{shown(entry.subject)}": give each subject its own color'
            )
        subjects[entry.color] = entry.subject


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3] on white, at most 2048 cells on its longer side."""
    height, width = canvas_within(image.height, image.width)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(to_rgb(image))


def _check_present(pixels: NDArray[np.uint8], missing: Sequence[ColorEntry], tolerance: float) -> None:
    if not missing:
        return
    names = ", ".join(f'{color_name(entry.color)} ("{shown(entry.subject)}")' for entry in missing)
    present = prominent_colors(pixels, np.ones(pixels.shape[:2], dtype=np.bool_))
    raise LayoutError(f"the layout picture has no {names}; it has {_listed(present)} (tolerance {tolerance:g})")


def _without_fringe(mask: NDArray[np.bool_], pixels: NDArray[np.uint8], color: RGB) -> NDArray[np.bool_]:
    """Drop thin seams: where red meets yellow, blended pixels look like an orange region.

    Thin strokes in the color itself stay; a blend may hit it too, but only here and there.
    """
    exact = np.zeros_like(mask)
    exact[mask] = ((pixels[mask].astype(np.int32) - np.array(color, dtype=np.int32)) ** 2).sum(-1) <= _EXACT**2
    strokes = exact & (_neighbors(exact) >= 2)
    picture = Image.fromarray(mask.astype(np.uint8))
    opened = np.asarray(picture.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3))).astype(bool)
    kept: NDArray[np.bool_] = strokes | (opened & mask)
    return kept if kept.any() else mask


def _neighbors(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many of each cell's 8 neighbors are set."""
    padded = np.pad(mask.astype(np.uint8), 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    around: NDArray[np.uint8] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - mask
    return around


def _listed(colors: Sequence[tuple[RGB, float]]) -> str:
    if not colors:
        return "only black, white and gray"
    return ", ".join(f"{color_name(color)} ({share:.0%})" for color, share in colors[:8])
