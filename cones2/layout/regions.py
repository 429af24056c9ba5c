"""Layouts: which subject belongs where in the picture (Cones 2, section 3.3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import LayoutError
from ..messages import shown
from ..ranges import MAX_PHRASE, MAX_REGIONS, REGION_WEIGHT
from .colors import RGB
from .grid import canvas_within, resize_set

log = logging.getLogger(__name__)

DEFAULT_WEIGHT = 2.5  # published weight of a subject inside its region
_SAME_PROPORTIONS = 0.05  # difference of log(width / height) up to which nobody sees a stretch


class Box(NamedTuple):
    """A rectangle, in pixels or fractions of the canvas.

    x, y: left and top edge.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Region:
    """Where one subject belongs.

    subject: its phrase as users name it, such as "dog" or "dog#2".
    mask: bool [H, W], True inside.
    weight: what its tokens gain inside (2.5 published).
    color: how pictures of the layout draw it, when it came from one.
    """

    subject: str
    mask: Tensor
    weight: float = DEFAULT_WEIGHT
    color: RGB | None = None

    @property
    def share(self) -> float:
        """Share of the picture inside the region, 0–1."""
        return float(self.mask.float().mean())


@dataclass(frozen=True, eq=False)
class Layout:
    """Regions on one canvas of `height` × `width` cells, in table order; they may overlap."""

    regions: tuple[Region, ...]
    height: int
    width: int

    def __post_init__(self) -> None:
        check_region_count(len(self.regions))
        for region in self.regions:
            if len(region.subject) > MAX_PHRASE:
                raise LayoutError(f'the subject "{shown(region.subject, 40)}" is longer than {MAX_PHRASE} characters')
            if region.mask.dtype != torch.bool or region.mask.shape != (self.height, self.width):
                raise LayoutError(
                    f'the mask of "{shown(region.subject)}" is {region.mask.dtype} {tuple(region.mask.shape)}, '
                    f"expected bool ({self.height}, {self.width})"
                )
            if region.weight not in REGION_WEIGHT:
                raise LayoutError(
                    f'the weight of "{shown(region.subject)}" is {region.weight}: it must be a number '
                    f"from {REGION_WEIGHT}"
                )

    @property
    def subjects(self) -> list[str]:
        """Subject phrases in table order."""
        return [region.subject for region in self.regions]

    def is_stretched(self, height: int, width: int) -> bool:
        """Whether a picture of `height` × `width` has other proportions than the layout."""
        return abs(math.log((self.width / self.height) / (width / height))) > _SAME_PROPORTIONS

    def warn_if_stretched(self, height: int, width: int) -> None:
        """Log a warning when a picture of `height` × `width` has other proportions than the layout."""
        if self.is_stretched(height, width):
            log.warning(
                "the layout is %d × %d but the picture is %d × %d (width × height): the layout is stretched",
                self.width,
                self.height,
                width,
                height,
            )


def check_region_count(count: int) -> None:
    """Raise LayoutError for more regions than a layout may have."""
    if count > MAX_REGIONS:
        raise LayoutError(f"the layout has {count} regions: {MAX_REGIONS} is the limit")


def layout_from_masks(
    masks: Sequence[Tensor],
    subjects: Sequence[str],
    weights: Sequence[float] | None = None,
) -> Layout:
    """Regions from masks [H, W] of any dtype; a cell is inside from 0.5 upwards.

    Masks of different sizes are brought to the largest one's size, at most 2048 cells a side. Regions
    are sets: a feathered edge would otherwise be excluded altogether, since outside weighs −1e8.
    Raises LayoutError when counts differ, a mask has another rank or layout, holds NaN, or selects nothing.
    """
    weights = [DEFAULT_WEIGHT] * len(subjects) if weights is None else weights
    if not len(masks) == len(subjects) == len(weights):
        raise LayoutError(
            f"{len(masks)} masks, {len(subjects)} subjects, {len(weights)} weights: give one of each per region"
        )
    if not masks:
        raise LayoutError("the layout is empty: give at least one mask and its subject")
    check_region_count(len(masks))
    for mask, subject in zip(masks, subjects, strict=True):
        _check_mask(mask, subject)
    height, width = canvas_within(*max((tuple(mask.shape) for mask in masks), key=math.prod))
    regions = [
        Region(subject, resize_set(mask >= 0.5, height, width), float(weight))
        for mask, subject, weight in zip(masks, subjects, weights, strict=True)
    ]
    return Layout(tuple(regions), height, width)


def layout_from_boxes(
    boxes: Sequence[Box],
    subjects: Sequence[str],
    height: int,
    width: int,
    unit: Literal["pixels", "fractions"] = "pixels",
    weights: Sequence[float] | None = None,
) -> Layout:
    """Regions from rectangles on a canvas of `height` × `width` pixels; parts outside are cut off.

    Every box covers at least one pixel. Raises LayoutError when counts differ or a box is not
    finite, has no area, or lies wholly outside the canvas.
    """
    if height < 1 or width < 1:
        raise LayoutError(f"the canvas is {width} × {height}: both sides must be at least 1")
    if len(boxes) != len(subjects):
        count = f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}"
        raise LayoutError(f"{count} but {len(subjects)} subjects: give one subject per box")
    check_region_count(len(boxes))
    canvas = canvas_within(height, width)
    per_x, per_y = (width, height) if unit == "fractions" else (1, 1)
    masks = []
    for box, subject in zip(boxes, subjects, strict=True):
        pixel_box = Box(box.x * per_x, box.y * per_y, box.width * per_x, box.height * per_y)
        _check_box(pixel_box, shown(subject), height, width)
        masks.append(_box_mask(pixel_box, canvas, canvas[0] / height, canvas[1] / width))
    return layout_from_masks(masks, subjects, weights)


def _check_mask(mask: Tensor, subject: str) -> None:
    name = shown(subject)
    if mask.layout != torch.strided:
        raise LayoutError(f'the mask of "{name}" is sparse, expected a dense one')
    if mask.ndim != 2 or not mask.numel():
        raise LayoutError(f'the mask of "{name}" has shape {tuple(mask.shape)}, expected (height, width)')
    if not torch.isfinite(mask).all():
        raise LayoutError(f'the mask of "{name}" holds values that are not numbers (NaN or infinity)')
    if not (mask >= 0.5).any():
        raise LayoutError(f'the mask of "{name}" is empty: no value reaches 0.5 (largest {float(mask.max()):.3g})')


def _check_box(box: Box, subject: str, height: int, width: int) -> None:
    if not all(math.isfinite(value) for value in box):
        raise LayoutError(f'the box of "{subject}" is {tuple(box)}: its values must be finite numbers')
    if box.width <= 0 or box.height <= 0:
        raise LayoutError(f'the box of "{subject}" is {box.width:g} × {box.height:g}: it has no area')
    if box.x >= width or box.y >= height or box.x + box.width <= 0 or box.y + box.height <= 0:
        raise LayoutError(
            f'the box of "{subject}" at ({box.x:g}, {box.y:g}), {box.width:g} × {box.height:g} pixels, '
            f"lies outside the {width} × {height} canvas: give the size of the canvas it was drawn on"
        )


def _box_mask(box: Box, canvas: tuple[int, int], scale_y: float, scale_x: float) -> Tensor:
    top, bottom = _cells(box.y * scale_y, (box.y + box.height) * scale_y, canvas[0])
    left, right = _cells(box.x * scale_x, (box.x + box.width) * scale_x, canvas[1])
    mask = torch.zeros(canvas)
    mask[top:bottom, left:right] = 1
    return mask


def _cells(start: float, end: float, length: int) -> tuple[int, int]:
    """Whole cells of [start, end) clipped to the canvas, never fewer than one."""
    low = min(max(math.floor(start + 0.5), 0), length - 1)
    return low, min(max(math.floor(end + 0.5), low + 1), length)
