"""The layout document: what was drawn for each subject, as JSON that a workflow or a file holds.

    {"version": 1, "subjects": [
        {"name": "dog", "color": "#e6194b", "weight": 2.5, "shapes": [
            {"box": [0.1, 0.2, 0.3, 0.6]},
            {"ellipse": [0.1, 0.2, 0.3, 0.6], "erase": true},
            {"polygon": [[0.1, 0.1], [0.4, 0.1], [0.2, 0.5]]},
            {"stroke": [[0.1, 0.1], [0.2, 0.3]], "size": 0.06}]},
        {"name": "mug", "residual": "mug.safetensors", "strength": 1}]}

Numbers are fractions of the picture, so a document fits pictures of every size. Where nobody has drawn anything, the
subjects stand side by side.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import LayoutError
from ..messages import listed
from ..storage.files import read_limited, shown_path
from .colors import RGB, color_name
from .document_values import MAX_CHARACTERS, VERSION, read_subjects
from .drawing import PALETTE
from .grid import canvas_within
from .raster import region_mask
from .regions import DEFAULT_WEIGHT, Box, Layout, Region, check_region_count
from .shapes import Ellipse, Polygon, Rectangle, Shape

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnSubject:
    """A subject and what was drawn for it.

    name: its phrase as users name it, such as "dog" or "dog#2".
    shapes: drawn one after the other.
    weight: what its tokens gain inside.
    color: how it is shown; None for the palette's.
    residual: file name of its residual; empty for a plain word.
    strength: factor on the residual.
    """

    name: str
    shapes: tuple[Shape, ...] = ()
    weight: float = DEFAULT_WEIGHT
    color: RGB | None = None
    residual: str = ""
    strength: float = 1.0


@dataclass(frozen=True)
class LayoutDocument:
    """The subjects of one picture, in order; their regions may overlap."""

    subjects: tuple[DrawnSubject, ...] = ()

    def layout(self, height: int, width: int) -> Layout:
        """The regions on a canvas of the proportions of `height` × `width` pixels, at most 2048 cells a side.

        A subject without a region is left out, with a warning. Raises LayoutError when none has one.
        """
        canvas = canvas_within(height, width)
        regions, without = [], []
        for index, subject in enumerate(self.with_columns().subjects):
            mask = torch.from_numpy(region_mask(subject.shapes, *canvas))
            color = subject.color or PALETTE[index % len(PALETTE)]
            if mask.any():
                regions.append(Region(subject.name, mask, subject.weight, color))
            else:
                without.append(subject.name)
        if not regions:
            raise LayoutError(_nothing_drawn(without))
        if without:
            log.warning("no region is drawn for %s: the layout does not place it", listed(without))
        return Layout(tuple(regions), *canvas)

    def with_columns(self) -> LayoutDocument:
        """The document itself; where nobody has drawn anything, its subjects side by side."""
        if not self.subjects or any(subject.shapes for subject in self.subjects):
            return self
        boxes = columns(len(self.subjects))
        drawn = [replace(each, shapes=(Rectangle(box),)) for each, box in zip(self.subjects, boxes, strict=True)]
        return LayoutDocument(tuple(drawn))

    def with_regions(self, regions: Sequence[DrawnSubject]) -> LayoutDocument:
        """The document with these subjects drawn so instead, several of one name together; others stay as they are.

        Raises LayoutError for more subjects than a layout may have.
        """
        drawn: dict[str, DrawnSubject] = {}
        for region in regions:
            known = drawn.setdefault(region.name.lower(), replace(region, shapes=()))
            drawn[region.name.lower()] = replace(known, shapes=known.shapes + region.shapes)
        subjects = []
        for subject in self.subjects:
            region = drawn.pop(subject.name.lower(), subject)
            weight = subject.weight if region.weight == DEFAULT_WEIGHT else region.weight
            subjects.append(replace(subject, shapes=region.shapes, weight=weight))
        check_region_count(len(subjects) + len(drawn))
        return LayoutDocument((*subjects, *drawn.values()))

    def to_json(self) -> str:
        """The document as one line of JSON."""
        subjects = [_subject_json(subject) for subject in self.subjects]
        return json.dumps({"version": VERSION, "subjects": subjects}, ensure_ascii=False, separators=(",", ":"))


def parse_document(text: str) -> LayoutDocument:
    """The document of a JSON text. Raises LayoutError naming what is wrong in it."""
    return LayoutDocument(tuple(DrawnSubject(*values) for values in read_subjects(text)))


def load_document(path: Path) -> LayoutDocument:
    """The document in a file. Raises LayoutError naming the file, Cones2Error when it is missing or too large."""
    content = read_limited(path, 4 * MAX_CHARACTERS, "layout document", (".json",))
    try:
        return parse_document(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise LayoutError(f"{shown_path(path)} is not a layout document: it is not UTF-8 text") from None
    except LayoutError as error:
        raise LayoutError(f"{shown_path(path)}: {error}") from error


def document_of_names(names: Sequence[str]) -> LayoutDocument:
    """Subjects side by side."""
    return LayoutDocument(tuple(DrawnSubject(name) for name in names)).with_columns()


def columns(count: int) -> list[Box]:
    """Boxes for so many subjects side by side, with room around each."""
    width = round(0.8 / count, 4)
    return [Box(round((index + 0.1) / count, 4), 0.15, width, 0.7) for index in range(count)]


def _nothing_drawn(names: Sequence[str]) -> str:
    if not names:
        return 'the layout names no subject: add one; as JSON: {"version": 1, "subjects": [{"name": "dog"}]}'
    return f"no region is drawn for any subject ({listed(names)}): draw one inside the picture"


def _subject_json(subject: DrawnSubject) -> dict[str, object]:
    found: dict[str, object] = {"name": subject.name}
    if subject.color is not None:
        found["color"] = color_name(subject.color)
    found["weight"] = subject.weight
    if subject.residual:
        found |= {"residual": subject.residual, "strength": subject.strength}
    return found | {"shapes": [_shape_json(shape) for shape in subject.shapes]}


def _shape_json(shape: Shape) -> dict[str, object]:
    if isinstance(shape, Rectangle):
        found: dict[str, object] = {"box": list(shape.box)}
    elif isinstance(shape, Ellipse):
        found = {"ellipse": list(shape.box)}
    elif isinstance(shape, Polygon):
        found = {"polygon": [list(point) for point in shape.points]}
    else:
        found = {"stroke": [list(point) for point in shape.points], "size": shape.size}
    return found | ({"erase": True} if shape.erase else {})
