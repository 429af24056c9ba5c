"""The host's bounding boxes as the engine takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ...cones2.errors import LayoutError
from ...cones2.layout.colors import RGB, parse_color
from ...cones2.layout.regions import Box, Layout, layout_from_boxes
from ...cones2.layout.tables import SubjectLine, parse_subject_lines

_GRID = 1000  # elements are placed in thousandths of the canvas
_NOTHING = "there are no boxes: draw one per subject, in Create Bounding Boxes for example"


class Element(NamedTuple):
    """A box as Create Bounding Boxes describes it.

    box: in fractions of the canvas.
    description: what was typed into it, on one line.
    color: the first of its palette.
    """

    box: Box
    description: str
    color: RGB | None


def to_boxes(boxes: Any) -> list[Box]:
    """A BOUNDING_BOX is one box, the boxes of a picture, or a list of those per picture (the first counts).

    Raises LayoutError for anything else, and for none.
    """
    if isinstance(boxes, Mapping):
        return [_box(boxes)]
    if not isinstance(boxes, list):
        raise LayoutError(f"the boxes are {type(boxes).__name__}: connect a bounding box or a list of them")
    if not (of_first := boxes[0] if boxes and isinstance(boxes[0], list) else boxes):
        raise LayoutError(_NOTHING)
    return [_box(box) for box in of_first]


def to_elements(elements: Any) -> list[Element]:
    """The output `elements` of Create Bounding Boxes. Raises LayoutError for anything else, and for none."""
    if not isinstance(elements, list):
        raise LayoutError(f"the elements are {type(elements).__name__}: connect those of Create Bounding Boxes")
    if not elements:
        raise LayoutError(_NOTHING)
    return [_element(element) for element in elements]


def layout_from_elements(
    elements: Sequence[Element], lines: Sequence[SubjectLine], height: int, width: int, weight: float
) -> Layout:
    """A region for each element, in its color, for the subject that its description names.

    lines: the subjects of elements without a description, by their place among all elements.
    height, width: only their proportions count. weight: where a description gives none.
    Raises LayoutError for an element that nothing names.
    """
    named = [_subject(element, place, lines, weight) for place, element in enumerate(elements)]
    layout = layout_from_boxes(
        [element.box for element in elements],
        [line.subject for line in named],
        height,
        width,
        "fractions",
        [line.weight for line in named],
    )
    colored = zip(layout.regions, elements, strict=True)
    return replace(layout, regions=tuple(replace(region, color=element.color) for region, element in colored))


def _subject(element: Element, place: int, lines: Sequence[SubjectLine], weight: float) -> SubjectLine:
    if element.description:
        return parse_subject_lines(element.description, weight)[0]
    if place < len(lines):
        return lines[place]
    raise LayoutError(f"box {place + 1} names no subject: type its word of the prompt as the description of the box")


def _element(element: Any) -> Element:
    try:
        top, left, bottom, right = (float(value) / _GRID for value in element["bbox"])
        palette, text = element.get("color_palette") or [], element.get("desc") or element.get("text") or ""
        color = parse_color(palette[0]) if palette else None
        return Element(Box(left, top, right - left, bottom - top), " ".join(text.split()), color)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        if isinstance(error, LayoutError):
            raise
        raise LayoutError(f"{element!r:.80} is not an element of Create Bounding Boxes: it needs a bbox") from None


def _box(box: Any) -> Box:
    try:
        return Box(*(float(box[key]) for key in ("x", "y", "width", "height")))
    except OverflowError:
        raise LayoutError("a bounding box has a number of more than 300 digits") from None
    except (KeyError, TypeError, ValueError, IndexError):
        raise LayoutError(f"{box!r:.80} is not a bounding box: it needs the numbers x, y, width and height") from None
