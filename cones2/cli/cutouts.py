"""`--cutout "dog=rex.png"`: photos of one's own for a start from the photos, and whether a scene has what it needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..concepts.cutout import MAX_CUTOUTS, CutOut
from ..concepts.cutout_text import transparent_cutout
from ..errors import Cones2Error, ConfigError
from ..layout.regions import Layout
from ..messages import listed, shown
from ..scene import Scene
from ..storage.files import shown_path
from ..storage.images import open_cutout_picture

log = logging.getLogger(__name__)

Cutouts = Mapping[str, tuple[CutOut, ...]]
"""Of each subject, by its name in lower case, as --subject or the config has it."""


@dataclass(frozen=True, eq=False)
class CutoutFlag:
    """`--cutout "PHRASE=FILE"`. subject: whom the picture shows."""

    subject: str
    path: Path
    cutout: CutOut


def parse_cutout(text: str) -> CutoutFlag:
    """Read "dog=rex.png" and the picture. Raises ConfigError for a missing phrase, or a file that cannot be used."""
    phrase, equals, name = text.partition("=")
    if not equals or not phrase.strip() or not name:
        raise ConfigError(f'--cutout "{shown(text)}" is not PHRASE=FILE: write "dog=rex.png"')
    path = Path(name)
    picture = open_cutout_picture(path)
    try:
        return CutoutFlag(phrase.strip(), path, transparent_cutout(picture))
    except Cones2Error as error:
        raise ConfigError(f"{shown_path(path)}: {error}") from error


def by_subject(flags: Sequence[CutoutFlag]) -> Cutouts:
    """The cut-outs of the flags. Raises ConfigError for too many of one subject."""
    found: dict[str, tuple[CutOut, ...]] = {}
    for flag in flags:
        key = key_of(flag.subject)
        found[key] = (*found.get(key, ()), flag.cutout)
        if len(found[key]) > MAX_CUTOUTS:
            raise ConfigError(f'"{shown(flag.subject)}" has more than {MAX_CUTOUTS} cut-outs')
    return found


def key_of(subject: str) -> str:
    """The subject's key among cut-outs."""
    return subject.strip().lower()


def check_known(flags: Sequence[CutoutFlag], subjects: Sequence[str]) -> None:
    """Raise ConfigError for a cut-out of something that is none of the subjects."""
    known = {key_of(subject) for subject in subjects}
    for flag in flags:
        if key_of(flag.subject) not in known:
            raise ConfigError(f'--cutout "{shown(flag.subject)}": the subjects are {listed(sorted(known))}')


def check_photos(name: str, scene: Scene, layout: Layout | None) -> None:
    """Raise ConfigError when a scene has no photo to start from; log which subjects have none.

    name: of the job.
    """
    if not scene.photos:
        raise ConfigError(
            f"{shown(name)}: --photo-start needs a layout and cut-outs of its subjects: take residuals that hold "
            'some (see "residual inspect"), or give --cutout "dog=rex.png"'
        )
    started = {id(place.region) for place in scene.photos}
    rest = [r.subject for r in layout.regions if r.weight > 0 and id(r.mask) not in started] if layout else []
    if rest:
        log.warning("%s: no cut-out of %s, which starts from noise", shown(name), listed(rest))
