"""The host's bounding boxes as the engine takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...cones2.errors import LayoutError
from ...cones2.layout.regions import Box


def to_boxes(boxes: Any) -> list[Box]:
    """A BOUNDING_BOX is one box, the boxes of a picture, or a list of those per picture (the first counts)."""
    if isinstance(boxes, Mapping):
        return [_box(boxes)]
    if isinstance(boxes, list):
        return [_box(box) for box in (boxes[0] if boxes and isinstance(boxes[0], list) else boxes)]
    raise LayoutError(f"the boxes are {type(boxes).__name__}: connect a bounding box or a list of them")


def _box(box: Any) -> Box:
    try:
        return Box(*(float(box[key]) for key in ("x", "y", "width", "height")))
    except OverflowError:
        raise LayoutError("a bounding box has a number of more than 300 digits") from None
    except (KeyError, TypeError, ValueError, IndexError):
        raise LayoutError(f"{box!r:.80} is not a bounding box: it needs the numbers x, y, width and height") from None
