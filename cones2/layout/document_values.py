"""The values in a layout document's JSON, checked and bounded one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import LayoutError
from ..messages import shown
from ..ranges import MAX_PHRASE, MAX_REGIONS, REGION_WEIGHT, Range
from .colors import RGB, parse_color
from .regions import DEFAULT_WEIGHT, Box
from .shapes import Ellipse, Point, Polygon, Rectangle, Shape, Stroke

VERSION = 1
MAX_CHARACTERS = 1_000_000
MAX_SHAPES = 256
"""Shapes of a document; drawing one takes up to 30 ms."""

MAX_POINTS = 10_000
"""Points of all strokes and polygons of a document; each takes up to 0.4 ms."""

POSITION = Range(-4, 5)
LENGTH = Range(0, 9)
"""Of boxes and brushes."""

STRENGTH = Range(-10, 10)
_KINDS = ("box", "ellipse", "polygon", "stroke")
_MAX_FILE_NAME = 500  # characters


class SubjectValues(NamedTuple):
    """The fields of a subject, in the order of `DrawnSubject`."""

    name: str
    shapes: tuple[Shape, ...]
    weight: float
    color: RGB | None
    residual: str
    strength: float


def read_subjects(text: str) -> list[SubjectValues]:
    """The subjects of a document; none for an empty text. Raises LayoutError naming what is wrong."""
    if not text.strip():
        return []
    document = _parsed(text)
    if document.get("version", VERSION) != VERSION or isinstance(document.get("version"), bool):
        raise LayoutError(
            f'the layout document has the version "{shown(document["version"], 40)}": this pack reads version {VERSION}'
        )
    entries = document.get("subjects", [])
    if not isinstance(entries, list):
        raise LayoutError('"subjects" of the layout document must be a list')
    if len(entries) > MAX_REGIONS:
        raise LayoutError(f"the layout document has {len(entries)} subjects: {MAX_REGIONS} is the limit")
    _check_size(entries)
    return [_subject(entry, number) for number, entry in enumerate(entries, start=1)]


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise LayoutError(f"the layout document has {len(text):,} characters: {MAX_CHARACTERS:,} is the limit")
    try:
        document = json.loads(text)
    except RecursionError:
        raise LayoutError("the layout document is nested too deeply") from None
    except ValueError as error:  # not JSON, or a number of thousands of digits
        raise LayoutError(f"the layout document is not JSON: {shown(error, 100)}") from None
    if not isinstance(document, dict):
        raise LayoutError('the layout document must be a JSON object such as {"version": 1, "subjects": []}')
    return document


def _check_size(entries: list[Any]) -> None:
    """Counted before anything is built."""
    shapes = [shape for entry in entries if isinstance(entry, dict) for shape in _list(entry.get("shapes"))]
    if len(shapes) > MAX_SHAPES:
        raise LayoutError(f"the layout document has {len(shapes):,} shapes: {MAX_SHAPES} is the limit")
    points = sum(len(_list(shape.get(kind))) for shape in shapes if isinstance(shape, dict) for kind in _KINDS[2:])
    if points > MAX_POINTS:
        raise LayoutError(f"the layout document has {points:,} points: {MAX_POINTS:,} is the limit")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _subject(entry: object, number: int) -> SubjectValues:
    if not isinstance(entry, dict):
        raise LayoutError(f"subject {number} of the layout document is not an object")
    name = _text(entry, "name", f"subject {number} of the layout document").strip()
    if not name:
        raise LayoutError(f'subject {number} of the layout document has no name: give it one such as "dog"')
    if len(name) > MAX_PHRASE:
        raise LayoutError(f'the subject "{shown(name, 40)}" is longer than {MAX_PHRASE} characters')
    if not name.isprintable():
        raise LayoutError(f'the subject "{shown(name, 80)}" has a character that does not print')
    where = f'"{shown(name, 80)}" of the layout document'
    color, residual, shapes = _text(entry, "color", where), _text(entry, "residual", where), entry.get("shapes", [])
    if len(residual) > _MAX_FILE_NAME or not residual.isprintable():
        raise LayoutError(f"the residual of {where} is not the name of a file: {shown(residual, 80)}")
    if not isinstance(shapes, list):
        raise LayoutError(f"the shapes of {where} must be a list")
    return SubjectValues(
        name,
        tuple(_shape(shape, f"shape {index} of {where}") for index, shape in enumerate(shapes, start=1)),
        _number(entry.get("weight", DEFAULT_WEIGHT), REGION_WEIGHT, f"the weight of {where}"),
        parse_color(color) if color else None,
        residual,
        _number(entry.get("strength", 1.0), STRENGTH, f"the strength of {where}"),
    )


def _shape(entry: object, where: str) -> Shape:
    if not isinstance(entry, dict):
        raise LayoutError(f"{where} is not an object")
    kinds = [kind for kind in _KINDS if kind in entry]
    if len(kinds) != 1:
        raise LayoutError(f"{where} must have exactly one of {', '.join(_KINDS)}; it has {len(kinds)}")
    kind, erase = kinds[0], entry.get("erase", False)
    if not isinstance(erase, bool):
        raise LayoutError(f'"erase" of {where} must be true or false')
    if kind == "box":
        return Rectangle(_box(entry[kind], where), erase)
    if kind == "ellipse":
        return Ellipse(_box(entry[kind], where), erase)
    points = tuple(_points(entry[kind], where))
    if kind == "polygon":
        return Polygon(points, erase)
    return Stroke(points, _number(entry.get("size"), LENGTH, f'"size" of {where}'), erase)


def _box(value: object, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise LayoutError(f"{where} must be [left, top, width, height]")
    left, top = (_number(side, POSITION, where) for side in value[:2])
    return Box(left, top, *(_number(side, LENGTH, where) for side in value[2:]))


def _points(value: object, where: str) -> Iterator[Point]:
    if not isinstance(value, list) or not value:
        raise LayoutError(f"{where} must be a list of points such as [[0.1, 0.2], [0.3, 0.4]]")
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise LayoutError(f"{where} must be a list of points such as [[0.1, 0.2], [0.3, 0.4]]")
        yield Point(*(_number(number, POSITION, where) for number in pair))


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise LayoutError(f'"{key}" of {where} must be a text')
    return value or ""


def _number(value: object, allowed: Range, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in allowed:
        raise LayoutError(f"{where} has {_seen(value)}: it must be a number from {allowed}")
    return float(value)


def _seen(value: object) -> str:
    if value is None:
        return "no number"
    return f'"{shown(value, 40)}"' if isinstance(value, int | float | str) else f"a {type(value).__name__}"
