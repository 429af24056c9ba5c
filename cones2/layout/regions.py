"""Layouts: which subject belongs where in the picture (Cones 2, section 3.3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from ..errors import LayoutError
from ..storage.images import to_rgb
from .colors import DEFAULT_TOLERANCE, RGB, color_name, nearest_color, prominent_colors

log = logging.getLogger(__name__)

DEFAULT_WEIGHT = 2.5  # published strength of a subject inside its region
_LONGEST_SIDE = 2048  # no attention grid is finer, and larger pictures only cost memory
_EXACT = 3.0  # RGB distance up to which a pixel is the color itself, not a blend of two others


class Box(NamedTuple):
    """A rectangle: left edge, top edge, width and height, in pixels or fractions of the canvas."""

    x: float
    y: float
    width: float
    height: float


class ColorEntry(NamedTuple):
    """One line of a color table."""

    color: RGB
    subject: str
    weight: float = DEFAULT_WEIGHT


@dataclass(frozen=True, eq=False)
class Region:
    """Where one subject belongs.

    mask: bool [H, W], True inside. weight: what its tokens gain inside (2.5 published).
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
        for region in self.regions:
            if region.mask.dtype != torch.bool or region.mask.shape != (self.height, self.width):
                raise LayoutError(
                    f'the mask of "{region.subject}" is {region.mask.dtype} {tuple(region.mask.shape)}, '
                    f"expected bool ({self.height}, {self.width})"
                )
            if not math.isfinite(region.weight):
                raise LayoutError(f'the weight of "{region.subject}" is {region.weight}: it must be a finite number')

    @property
    def subjects(self) -> list[str]:
        """Subject phrases in table order."""
        return [region.subject for region in self.regions]

    def warn_if_stretched(self, height: int, width: int) -> None:
        """Log a warning when a picture of `height` × `width` has another aspect ratio than the layout."""
        if abs(math.log((self.width / self.height) / (width / height))) > 0.05:
            log.warning(
                "the layout is %d × %d but the picture is %d × %d (width × height): the layout is stretched",
                self.width,
                self.height,
                width,
                height,
            )


def layout_from_colors(
    image: Image.Image,
    table: Sequence[ColorEntry],
    tolerance: float = DEFAULT_TOLERANCE,
) -> Layout:
    """Regions painted in color: each pixel belongs to the nearest table color within `tolerance`.

    image: any Pillow mode, transparency counts as white. tolerance: Euclidean RGB distance, 0–441.
    Raises LayoutError for an empty table, a color listed twice, or colors the picture lacks
    (naming each with its subject and the colors present). Large areas of a color that no
    subject claims are logged as a warning.
    """
    check_color_table(table)
    pixels = rgb_pixels(image)
    labels = nearest_color(pixels, [entry.color for entry in table], tolerance)
    masks = [_without_fringe(labels == index, pixels, entry.color) for index, entry in enumerate(table)]
    unclaimed = prominent_colors(pixels, labels < 0)
    missing = [entry for entry, mask in zip(table, masks, strict=True) if not mask.any()]
    if missing:
        present = prominent_colors(pixels, np.ones(labels.shape, dtype=np.bool_))
        raise LayoutError(
            "the layout picture has no "
            + ", ".join(f'{color_name(entry.color)} ("{entry.subject}")' for entry in missing)
            + f"; it has {_color_list(present)} (tolerance {tolerance:g})"
        )
    if unclaimed:
        log.warning("no subject claims these colors of the layout picture: %s", _color_list(unclaimed))
    return _layout_of(
        [
            Region(entry.subject, torch.from_numpy(mask), entry.weight, entry.color)
            for entry, mask in zip(table, masks, strict=True)
        ]
    )


def check_color_table(table: Sequence[ColorEntry]) -> None:
    """Raise LayoutError when the table is empty or lists one color twice."""
    if not table:
        raise LayoutError("the color table is empty: give at least one color and its subject")
    seen: dict[RGB, str] = {}
    for entry in table:
        if entry.color in seen:
            raise LayoutError(
                f'{color_name(entry.color)} stands for both "{seen[entry.color]}" and "{entry.subject}": '
                "give each subject its own color"
            )
        seen[entry.color] = entry.subject


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3] on white, at most 2048 cells on its longer side."""
    scale = _LONGEST_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.NEAREST)
    return np.asarray(to_rgb(image))


def layout_from_masks(
    masks: Sequence[Tensor],
    subjects: Sequence[str],
    weights: Sequence[float] | None = None,
    colors: Sequence[RGB | None] | None = None,
) -> Layout:
    """Regions from masks [H, W] of any dtype; a cell is inside from 0.5 upwards.

    Masks of different sizes are brought to the largest one's size. Regions are sets: a feathered
    edge would otherwise be excluded altogether, since outside weighs −1e8.
    Raises LayoutError when counts differ, a mask has another rank, holds NaN, or selects nothing.
    """
    weights = [DEFAULT_WEIGHT] * len(subjects) if weights is None else weights
    colors = [None] * len(subjects) if colors is None else colors
    if not len(masks) == len(subjects) == len(weights) == len(colors):
        raise LayoutError(
            f"{len(masks)} masks, {len(subjects)} subjects, {len(weights)} weights: give one of each per region"
        )
    if not masks:
        raise LayoutError("the layout is empty: give at least one mask and its subject")
    for mask, subject in zip(masks, subjects, strict=True):
        if mask.ndim != 2 or not mask.numel():
            raise LayoutError(f'the mask of "{subject}" has shape {tuple(mask.shape)}, expected (height, width)')
        if not torch.isfinite(mask).all():
            raise LayoutError(f'the mask of "{subject}" holds values that are not numbers (NaN or infinity)')
        if not (mask >= 0.5).any():
            largest = float(mask.max())
            raise LayoutError(f'the mask of "{subject}" is empty: no value reaches 0.5 (largest {largest:.3g})')
    height, width = max((tuple(mask.shape) for mask in masks), key=math.prod)
    return _layout_of(
        [
            Region(subject, _resize_set(mask >= 0.5, height, width), float(weight), color)
            for mask, subject, weight, color in zip(masks, subjects, weights, colors, strict=True)
        ]
    )


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
        raise LayoutError(f"{len(boxes)} boxes but {len(subjects)} subjects: give one subject per box")
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    canvas = (max(1, round(height * scale)), max(1, round(width * scale)))
    per_x, per_y = (width, height) if unit == "fractions" else (1, 1)
    masks = []
    for box, subject in zip(boxes, subjects, strict=True):
        pixel_box = Box(box.x * per_x, box.y * per_y, box.width * per_x, box.height * per_y)
        _check_box(pixel_box, subject, height, width)
        masks.append(_box_mask(pixel_box, canvas, canvas[0] / height, canvas[1] / width))
    return layout_from_masks(masks, subjects, weights)


def _check_box(box: Box, subject: str, height: int, width: int) -> None:
    if not all(math.isfinite(value) for value in box):
        raise LayoutError(f'the box of "{subject}" is {tuple(box)}: its values must be finite numbers')
    if box.width <= 0 or box.height <= 0:
        raise LayoutError(f'the box of "{subject}" is {box.width:g} × {box.height:g}: it has no area')
    if box.x >= width or box.y >= height or box.x + box.width <= 0 or box.y + box.height <= 0:
        raise LayoutError(
            f'the box of "{subject}" at ({box.x:g}, {box.y:g}), {box.width:g} × {box.height:g} pixels, '
            f"lies outside the {width} × {height} canvas"
        )


def _box_mask(box: Box, canvas: tuple[int, int], scale_y: float, scale_x: float) -> Tensor:
    top, bottom = _span(box.y * scale_y, (box.y + box.height) * scale_y, canvas[0])
    left, right = _span(box.x * scale_x, (box.x + box.width) * scale_x, canvas[1])
    mask = torch.zeros(canvas)
    mask[top:bottom, left:right] = 1
    return mask


def _span(start: float, end: float, length: int) -> tuple[int, int]:
    """Whole cells of [start, end) clipped to the canvas, never fewer than one."""
    low = min(max(math.floor(start + 0.5), 0), length - 1)
    return low, min(max(math.floor(end + 0.5), low + 1), length)


def _layout_of(regions: Sequence[Region]) -> Layout:
    height, width = regions[0].mask.shape
    return Layout(tuple(regions), height, width)


def _resize_set(mask: Tensor, height: int, width: int) -> Tensor:
    if mask.shape == (height, width):
        return mask.cpu()
    resized = torch.nn.functional.interpolate(mask[None, None].float().cpu(), (height, width), mode="nearest-exact")
    # a set smaller than the sampling step can slip between the samples
    return resized[0, 0] >= 0.5 if resized.any() else coverage(mask.cpu(), height, width) > 0


def coverage(mask: Tensor, height: int, width: int) -> Tensor:
    """Share of each cell of a `height` × `width` grid that lies inside the mask: [height, width], 0–1."""
    rows = _overlaps(mask.shape[0], height)
    columns = _overlaps(mask.shape[1], width)
    return rows @ mask.to(rows.dtype) @ columns.T


def _overlaps(cells: int, parts: int) -> Tensor:
    """[parts, cells]: share of part i's interval that cell j fills, both dividing the same length."""
    edges = torch.arange(parts + 1, dtype=torch.float64) * cells / parts
    starts = torch.arange(cells, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    return overlap.clamp(min=0) * parts / cells


def _without_fringe(mask: NDArray[np.bool_], pixels: NDArray[np.uint8], color: RGB) -> NDArray[np.bool_]:
    """Drop thin seams: where red meets yellow, blended pixels look like an orange region.

    Thin strokes in the color itself stay; a blend may hit it too, but only here and there.
    """
    exact = mask & (((pixels.astype(np.int32) - np.array(color)) ** 2).sum(-1) <= _EXACT**2)
    strokes = exact & (_neighbors(exact) >= 2)
    picture = Image.fromarray(mask.astype(np.uint8))
    opened = np.asarray(picture.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3))).astype(bool)
    kept: NDArray[np.bool_] = strokes | (opened & mask)
    return kept if kept.any() else mask


def _neighbors(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each cell's 8 neighbors are set."""
    padded = np.pad(mask.astype(np.int64), 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    around: NDArray[np.int64] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - mask
    return around


def _color_list(colors: Sequence[tuple[RGB, float]]) -> str:
    if not colors:
        return "only black, white and gray"
    return ", ".join(f"{color_name(color)} ({share:.0%})" for color, share in colors[:8])
