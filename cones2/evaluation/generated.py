"""Pictures to be measured and the photos they are measured against, from the user's folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import ConfigError
from ..layout.regions import Box
from ..messages import shown
from ..storage.files import read_limited, shown_path
from ..storage.images import open_photo
from ..storage.png import read_settings

CAPTIONS = "captions.json"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_MOST = 1 << 24  # bytes of the captions


@dataclass(frozen=True, eq=False)
class Generated:
    """One picture to be measured.

    name: its file, from the folder on. subjects: whose photos it is compared with.
    regions: where some of them belong, in fractions of the picture.
    """

    name: str
    path: Path
    prompt: str
    subjects: tuple[str, ...]
    regions: Mapping[str, Box] = field(default_factory=dict)

    def picture(self) -> Image.Image:
        """As RGB. Raises ConfigError when it is not a readable picture."""
        return open_photo(self.path)


def read_references(folder: Path) -> dict[str, list[Image.Image]]:
    """The photos of each subject: every picture in the folder of its name, in `folder`.

    Raises ConfigError for a folder that is missing or empty, and for a picture that cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder of references at {shown_path(folder)}")
    subjects = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not subjects:
        raise ConfigError(f"{shown_path(folder)} has no folders: put the photos of each subject into one of its name")
    references = {}
    for subject in subjects:
        photos = _pictures_in(subject)
        if not photos:
            raise ConfigError(f"{shown_path(subject)} has no photos ({', '.join(_SUFFIXES)})")
        references[subject.name] = [open_photo(path) for path in photos]
    return references


def read_generated(folder: Path, subjects: Sequence[str]) -> list[Generated]:
    """The pictures of a folder and its subfolders, each with its prompt and its subjects.

    They are said in captions.json ({"a.png": {"prompt": …, "subjects": [… ], "regions": {"dog": [x, y, width,
    height]}}}), else by the settings that `cones2 sample` wrote into the picture.
    subjects: those that have references. Raises ConfigError naming the picture for whatever is missing.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder of pictures at {shown_path(folder)}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ConfigError(f"{shown_path(folder)} has no pictures ({', '.join(_SUFFIXES)})")
    captions = _captions(folder)
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    if unknown := sorted(set(captions) - set(names)):
        raise ConfigError(f"{CAPTIONS} names {shown(unknown[0])}, which is not in {shown_path(folder)}")
    return [_generated(name, path, captions.get(name), subjects) for name, path in names.items()]


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _captions(folder: Path) -> dict[str, Any]:
    path = folder / CAPTIONS
    if not path.exists():
        return {}
    try:
        captions = json.loads(read_limited(path, _MOST, "list of captions"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown_path(path)} is not JSON: {error}") from error
    if not isinstance(captions, dict):
        raise ConfigError(f'{shown_path(path)} must be a table: {{"a.png": {{"prompt": …, "subjects": […]}}}}')
    return captions


def _generated(name: str, path: Path, caption: Any, known: Sequence[str]) -> Generated:
    if caption is None:
        caption = _own_caption(path)
    if not isinstance(caption, dict) or not isinstance(caption.get("prompt"), str):
        raise ConfigError(f"{shown(name)} has no prompt: write it into {CAPTIONS}, or sample with cones2")
    subjects = caption.get("subjects")
    if not isinstance(subjects, list) or not subjects or not all(isinstance(one, str) for one in subjects):
        raise ConfigError(f"{shown(name)} names no subjects: write them into {CAPTIONS}")
    for subject in subjects:
        if subject not in known:
            raise ConfigError(
                f'{shown(name)} shows "{shown(subject)}", of which there are no references; there are: '
                f"{', '.join(map(shown, known))}"
            )
    regions = caption.get("regions", {})
    if not isinstance(regions, dict):
        raise ConfigError(f"{shown(name)}: regions must be a table of boxes")
    boxes = {subject: _box(name, subject, box) for subject, box in regions.items()}
    if strange := sorted(set(boxes) - set(subjects)):
        raise ConfigError(f'{shown(name)} has a region for "{shown(strange[0])}", which is not among its subjects')
    return Generated(name, path, caption["prompt"], tuple(dict.fromkeys(subjects)), boxes)


def _own_caption(path: Path) -> dict[str, Any]:
    """What `cones2 sample` wrote into the picture."""
    try:
        with Image.open(path) as picture:
            settings = read_settings(picture)
    except Exception as error:  # Pillow raises many kinds for damaged pictures
        raise ConfigError(f"{shown(path.name)} is not a readable picture: {shown(error)}") from error
    subjects = settings.get("subjects")
    if isinstance(subjects, list):
        settings["subjects"] = [one["subject"] for one in subjects if isinstance(one, dict) and "subject" in one]
    return {key: settings[key] for key in ("prompt", "subjects") if key in settings}


def _box(name: str, subject: str, values: Any) -> Box:
    try:
        x, y, width, height = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{shown(name)}: the region of "{shown(subject)}" must be [x, y, width, height]') from error
    if not (0 <= x < 1 and 0 <= y < 1 and 0 < width <= 1 - x + 1e-6 and 0 < height <= 1 - y + 1e-6):
        raise ConfigError(
            f'{shown(name)}: the region of "{shown(subject)}" must lie in the picture, in fractions of it'
        )
    return Box(x, y, width, height)
