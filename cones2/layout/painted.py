"""Layouts painted in colors: one color per subject."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..errors import LayoutError
from ..messages import shown
from ..storage.images import to_rgb
from .colors import (
    DEFAULT_TOLERANCE,
    RGB,
    color_name,
    listed_colors,
    nearest_color,
    prominent_colors,
    without_fringe,
)
from .grid import canvas_within
from .regions import DEFAULT_WEIGHT, Layout, Region, check_region_count

log = logging.getLogger(__name__)


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
    check_region_count(len(table))
    labels = nearest_color(pixels, [entry.color for entry in table], tolerance)
    counts = np.bincount(labels[labels >= 0], minlength=len(table))
    missing = [entry for entry, count in zip(table, counts, strict=True) if not count]
    if missing:
        names = ", ".join(f'{color_name(entry.color)} ("{shown(entry.subject)}")' for entry in missing)
        present = listed_colors(prominent_colors(pixels, np.ones(labels.shape, dtype=np.bool_)))
        raise LayoutError(f"the layout picture has no {names}; it has {present} (tolerance {tolerance:g})")
    if unclaimed := prominent_colors(pixels, labels < 0):
        log.warning("no subject claims these colors of the layout picture: %s", listed_colors(unclaimed))
    regions = []
    for index, entry in enumerate(table):
        mask = without_fringe(labels == index, pixels, entry.color)
        regions.append(Region(entry.subject, torch.from_numpy(mask), entry.weight, entry.color))
    return Layout(tuple(regions), *labels.shape)


def check_color_table(table: Sequence[ColorEntry]) -> None:
    """Raise LayoutError when the table is empty or lists one color twice."""
    if not table:
        raise LayoutError("the color table is empty: give at least one color and its subject")
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
