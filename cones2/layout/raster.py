"""Shapes as masks, cell by cell as web/painter/raster.js draws them.

A cell belongs to a shape when its center does: what begins at a center has it, what ends there has not. Both sides
compute the same float64 operations in the same order, so they agree in every cell; tests/web/vectors.json holds them
to it. Each shape costs a few operations per row and point, and two per cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .regions import Box
from .shapes import Ellipse, Point, Polygon, Rectangle, Shape, Stroke

_Floats = NDArray[np.float64]
_Whole = NDArray[np.int64]


class _Spans(NamedTuple):
    """Where rows of cells are covered: row `rows[i]` from `left[i]` to `right[i]`, in cells."""

    rows: _Whole
    left: _Floats
    right: _Floats


def region_mask(shapes: Sequence[Shape], height: int, width: int) -> NDArray[np.bool_]:
    """The shapes of one subject on `height` × `width` cells, drawn one after the other: bool [height, width]."""
    mask = np.zeros((height, width), dtype=np.bool_)
    for shape in shapes:
        drawn = shape_mask(shape, height, width)
        mask = mask & ~drawn if shape.erase else mask | drawn
    return mask


def shape_mask(shape: Shape, height: int, width: int) -> NDArray[np.bool_]:
    """One shape on `height` × `width` cells: bool [height, width].

    A shape between the centers takes the cell that its middle is in.
    """
    if isinstance(shape, Polygon):
        mask = _odd(shape.points, height, width)
    else:
        mask = _covered(_spans(shape, height, width), height, width)
    if not mask.any() and (cell := _middle_cell(shape, height, width)) is not None:
        mask[cell] = True
    return mask


def _spans(shape: Rectangle | Ellipse | Stroke, height: int, width: int) -> Iterator[_Spans]:
    if isinstance(shape, Rectangle):
        yield _rectangle(shape.box, height, width)
    elif isinstance(shape, Ellipse):
        yield _ellipse(shape.box, height, width)
    else:
        yield from _stroke(shape, height, width)


def _covered(spans: Iterator[_Spans], height: int, width: int) -> NDArray[np.bool_]:
    """The cells that any of the spans covers."""
    steps = np.zeros((height, width + 1), dtype=np.int32)
    for rows, left, right in spans:
        first, end = _cells(left, width), _cells(right, width)
        some = end > first
        steps[rows[some], first[some]] += 1  # each row once: a span has no row twice
        steps[rows[some], end[some]] -= 1
    covered: NDArray[np.bool_] = np.cumsum(steps, axis=1)[:, :width] > 0
    return covered


def _odd(points: Sequence[Point], height: int, width: int) -> NDArray[np.bool_]:
    """The cells that a closed line surrounds an odd number of times."""
    steps = np.zeros((height, width + 1), dtype=np.int32)
    corners = _in_cells(points, height, width)
    for index, start in enumerate(corners):
        rows, crossing = _crossings(start, corners[(index + 1) % len(corners)], height)
        steps[rows, _cells(crossing, width)] += 1
    odd: NDArray[np.bool_] = np.cumsum(steps, axis=1)[:, :width] % 2 == 1
    return odd


def _rectangle(box: Box, height: int, width: int) -> _Spans:
    rows = _rows(box.y * height, (box.y + box.height) * height, height)
    left, right = np.float64(box.x * width), np.float64((box.x + box.width) * width)
    return _Spans(rows, np.full(len(rows), left), np.full(len(rows), right))


def _ellipse(box: Box, height: int, width: int) -> _Spans:
    rows = _rows(box.y * height, (box.y + box.height) * height, height)
    center_x, center_y = (box.x + box.width / 2) * width, (box.y + box.height / 2) * height
    radius_x, radius_y = box.width / 2 * width, box.height / 2 * height
    if not radius_y > 0:
        return _Spans(rows[:0], np.zeros(0), np.zeros(0))
    away = (rows + 0.5 - center_y) / radius_y
    half = radius_x * np.sqrt(np.maximum(1 - away * away, 0))
    return _Spans(rows, center_x - half, center_x + half)


def _stroke(stroke: Stroke, height: int, width: int) -> Iterator[_Spans]:
    """A disc at each point, and between two of them the rectangle that the brush passes over."""
    radius = stroke.size / 2 * min(height, width)
    points = _in_cells(stroke.points, height, width)
    for point in points:
        yield _disc(point, radius, height)
    for start, end in pairwise(points):
        yield _between(start, end, radius, height)


def _disc(center: Point, radius: float, height: int) -> _Spans:
    rows = _rows(center.y - radius, center.y + radius, height)
    away = rows + 0.5 - center.y
    half = np.sqrt(np.maximum(radius * radius - away * away, 0))
    return _Spans(rows, center.x - half, center.x + half)


def _between(start: Point, end: Point, radius: float, height: int) -> _Spans:
    """The rectangle of width 2 · radius around a line."""
    along_x, along_y = end.x - start.x, end.y - start.y
    length = float(np.sqrt(along_x * along_x + along_y * along_y))
    if length == 0:
        return _Spans(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
    aside_x, aside_y = -along_y / length * radius, along_x / length * radius
    corners = (
        Point(start.x + aside_x, start.y + aside_y),
        Point(end.x + aside_x, end.y + aside_y),
        Point(end.x - aside_x, end.y - aside_y),
        Point(start.x - aside_x, start.y - aside_y),
    )
    left, right = np.full(height, np.inf), np.full(height, -np.inf)
    for index, corner in enumerate(corners):
        rows, crossing = _crossings(corner, corners[(index + 1) % 4], height)
        left[rows] = np.minimum(left[rows], crossing)
        right[rows] = np.maximum(right[rows], crossing)
    rows = np.flatnonzero(left < right)
    return _Spans(rows, left[rows], right[rows])


def _crossings(start: Point, end: Point, height: int) -> tuple[_Whole, _Floats]:
    """The rows whose middle an edge crosses, and where."""
    rows = _rows(min(start.y, end.y), max(start.y, end.y), height)
    if not len(rows):
        return rows, np.zeros(0)
    below = rows.astype(np.float64) + 0.5 - start.y
    return rows, start.x + below * (end.x - start.x) / (end.y - start.y)


def _rows(top: float, bottom: float, height: int) -> _Whole:
    """The rows whose middle lies between top and bottom, in cells."""
    first, end = _cells(np.array([top, bottom]), height)
    return np.arange(first, end)


def _cells(edges: _Floats, length: int) -> _Whole:
    """The first cell whose center is not before each edge, within 0 … length."""
    return np.clip(np.ceil(edges - 0.5), 0, length).astype(np.int64)


def _in_cells(points: Sequence[Point], height: int, width: int) -> list[Point]:
    return [Point(point.x * width, point.y * height) for point in points]


def _middle_cell(shape: Shape, height: int, width: int) -> tuple[int, int] | None:
    """(row, column) of the cell that the middle of a shape is in; None when it lies outside the picture."""
    if isinstance(shape, Rectangle | Ellipse):
        x, y = shape.box.x + shape.box.width / 2, shape.box.y + shape.box.height / 2
    else:
        across, down = [point.x for point in shape.points], [point.y for point in shape.points]
        x, y = (min(across) + max(across)) / 2, (min(down) + max(down)) / 2
    inside = 0 <= x < 1 and 0 <= y < 1
    return (int(y * height), int(x * width)) if inside else None
