"""Shapes that people draw: rectangles, ellipses, polygons and brush strokes, in fractions of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from .regions import Box


class Point(NamedTuple):
    """A place in the picture: 0, 0 is its left top corner, 1, 1 its right bottom one."""

    x: float
    y: float


@dataclass(frozen=True)
class Rectangle:
    """An upright rectangle.

    box: in fractions of the picture.
    erase: whether it takes away from what its subject has so far.
    """

    box: Box
    erase: bool = False


@dataclass(frozen=True)
class Ellipse:
    """The ellipse that touches the four sides of a box.

    box: in fractions of the picture.
    erase: whether it takes away from what its subject has so far.
    """

    box: Box
    erase: bool = False


@dataclass(frozen=True)
class Polygon:
    """What a closed line surrounds an odd number of times.

    points: its corners, in order; the last is joined to the first.
    erase: whether it takes away from what its subject has so far.
    """

    points: tuple[Point, ...]
    erase: bool = False


@dataclass(frozen=True)
class Stroke:
    """What a round brush covers on its way.

    points: where it was, in order; one point is a dot.
    size: its diameter, in fractions of the picture's shorter side.
    erase: whether it takes away from what its subject has so far.
    """

    points: tuple[Point, ...]
    size: float
    erase: bool = False


Shape: TypeAlias = Rectangle | Ellipse | Polygon | Stroke
