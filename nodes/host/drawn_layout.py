"""Layout documents as nodes take them: checked before a run, filled from linked subjects, given out as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from comfy_api.latest import ui
from torch import Tensor

from ...cones2.concepts.residual import Residual
from ...cones2.concepts.residual_file import load_residual
from ...cones2.errors import Cones2Error, LayoutError, ResidualError
from ...cones2.layout import drawing
from ...cones2.layout.document import LayoutDocument, document_of_names, parse_document
from ...cones2.layout.regions import Layout
from .folders import file_stamp, find_residual, missing_residual
from .images import check_images, to_image

_Subject = TypeVar("_Subject")

BACKGROUND = "cones2_background"
"""Key of a node's ui output under which the painter finds the picture behind it."""


def wrong_document(text: str | None, needs_files: bool = False) -> str:
    """What is wrong with a document's text, in one sentence; empty when nothing is, or when it is linked (None)."""
    if text is None:
        return ""
    try:
        document = parse_document(text)
    except LayoutError as error:
        return str(error)
    absent = [each.residual for each in document.subjects if each.residual and find_residual(each.residual) is None]
    return missing_residual(absent[0]) if absent and needs_files else ""


def linked_residuals(residuals: Mapping[str, tuple[_Subject, ...] | None] | None) -> list[_Subject]:
    """The subjects of all connected sockets, in their order."""
    return [residual for group in (residuals or {}).values() if group is not None for residual in group]


def document_with(text: str, linked: Iterable[Residual]) -> LayoutDocument:
    """The document; where it names no subject, the linked ones side by side. Raises LayoutError."""
    document = parse_document(text)
    names = dict.fromkeys(str(residual.reference) for residual in linked)
    return document if document.subjects else document_of_names(list(names))


def residuals_of(document: LayoutDocument, linked: Iterable[Residual]) -> list[Residual]:
    """The linked subjects, and those whose files the document names. Raises ResidualError for an absent file."""
    found = list(linked)
    for subject in document.subjects:
        if subject.residual:
            path = find_residual(subject.residual)
            if path is None:
                raise ResidualError(missing_residual(subject.residual))
            found.append(load_residual(path, subject.name).with_strength(subject.strength))
    return found


def document_stamps(text: str | None) -> list[tuple[str, int, int]]:
    """Name, time and size of each residual file that a document names, to see whether one has changed.

    None for a document that is linked: the node that it comes from tells when it changes.
    """
    if text is None:
        return []
    try:
        names = [subject.residual for subject in parse_document(text).subjects if subject.residual]
    except Cones2Error:
        return []
    paths = [path for name in names if (path := find_residual(name)) is not None]
    return [stamp for path in paths if (stamp := file_stamp(path))]


def layout_masks(layout: Layout) -> Tensor:
    """MASK [regions, H, W] of a layout."""
    return torch.stack([region.mask.float() for region in layout.regions])


def layout_preview(layout: Layout) -> Tensor:
    """IMAGE of a layout with names, large enough to read them."""
    return to_image([drawing.layout_preview(layout, layout.height, layout.width)])


def background_shown(image: Tensor | None) -> dict[str, Any]:
    """The ui output that shows a picture behind the painter; empty without one. Raises as `check_images` does."""
    if image is None:
        return {}
    check_images(image, "the background image")
    saved = ui.PreviewImage(image[:1].float().clamp(0, 1)[..., :3].expand(-1, -1, -1, 3))
    return {BACKGROUND: saved.as_dict()["images"]}
