"""What `--scene` and `--region` draw: a layout document, and the residuals it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..assets import demo_residual
from ..errors import ConfigError
from ..layout.document import DrawnSubject, LayoutDocument, load_document
from ..layout.document_values import LENGTH, POSITION
from ..layout.regions import DEFAULT_WEIGHT, Box
from ..layout.shapes import Rectangle
from ..messages import shown
from ..prompt.claims import parse_phrase
from ..ranges import MAX_PHRASE, REGION_WEIGHT
from ..storage.files import shown_path
from .jobs import SubjectFlag


def parse_region(text: str) -> DrawnSubject:
    """Read "dog=0.5,0.3,0.4,0.6" or, with a weight of its own, "dog=0.5,0.3,0.4,0.6@3".

    The numbers are left, top, width and height in fractions of the picture. Raises ConfigError naming the flag.
    """
    phrase, _, rest = text.rpartition("=")
    typed, at_sign, weight = rest.partition("@")
    flag = f'--region "{shown(text, 80)}"'
    try:
        left, top, width, height = (float(number) for number in typed.split(","))
        value = float(weight) if at_sign else DEFAULT_WEIGHT
    except ValueError:
        raise ConfigError(f'{flag} is not a region: write "dog=LEFT,TOP,WIDTH,HEIGHT" in fractions of the picture, '
                          'such as "dog=0.5,0.3,0.4,0.6"') from None  # fmt: skip
    if not 0 < len(phrase.strip()) <= MAX_PHRASE:
        raise ConfigError(f'{flag} names no subject: write "dog=0.5,0.3,0.4,0.6"')
    if not all(edge in POSITION for edge in (left, top)) or not all(side in LENGTH for side in (width, height)):
        raise ConfigError(f"{flag} is far outside the picture: it reaches from 0 to 1")
    if value not in REGION_WEIGHT:
        raise ConfigError(f"{flag} has the weight {value:g}: it must be a number from {REGION_WEIGHT}")
    return DrawnSubject(phrase.strip(), (Rectangle(Box(left, top, width, height)),), value)


def drawn_document(scene: Path | None, regions: Sequence[DrawnSubject]) -> LayoutDocument | None:
    """The document of `--scene` with the regions of flags and prompt instead of its own; None without any of them.

    Raises LayoutError for a document that cannot be read.
    """
    if scene is None and not regions:
        return None
    document = LayoutDocument() if scene is None else load_document(scene)
    return document.with_regions(regions)


def with_named_residuals(
    flags: Sequence[SubjectFlag], document: LayoutDocument | None, scene: Path | None
) -> tuple[SubjectFlag, ...]:
    """The `--subject` flags, and one for each residual that the document names beside it and no flag replaces.

    Raises ConfigError for a residual outside the document's folder.
    """
    if document is None or scene is None:
        return tuple(flags)
    given = {str(flag.reference).lower() for flag in flags}
    named = [
        SubjectFlag(subject.name, _residual_beside(scene, subject.residual), None, subject.strength)
        for subject in document.subjects
        if subject.residual and str(parse_phrase(subject.name)).lower() not in given
    ]
    return (*flags, *named)


def _residual_beside(scene: Path, name: str) -> Path:
    """A residual that a document names: in its folder or below, or one of the demo's."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise ConfigError(f'{shown_path(scene)} names the residual "{shown(name)}", which is not in its folder')
    beside = scene.parent / parts
    shipped = demo_residual(name)
    return shipped if shipped is not None and not beside.is_file() else beside
