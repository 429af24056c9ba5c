"""What an image adapter learns from: a folder of pictures, and metadata.jsonl with what is where in them.

A line is of one picture: `file_name`, `text` (its caption), and `objects`, each with its `name` in the caption, its
`box` (x, y, width, height as fractions of the picture), and its `mask`, or `references`: other pictures of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..concepts.phrase import subject_phrase
from ..errors import Cones2Error, ConfigError
from ..layout.regions import Box
from ..messages import listed, shown
from ..storage.files import find_file, is_folder, shown_path

LABELS = "metadata.jsonl"
MAX_OBJECTS = 16
"""Of one picture."""

_MAX_BYTES = 512 << 20
_MAX_LINE = 256 << 10  # bytes
_MAX_LINES = 1_000_000
_MAX_CAPTION = 2000  # characters
_SLACK = 1e-3  # by which a rounded box may leave the picture
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCENE_KEYS = ("file_name", "text", "objects")
_OBJECT_KEYS = ("name", "box", "mask", "references")


@dataclass(frozen=True)
class LabeledObject:
    """One object of a picture.

    name: as the caption has it. box: in fractions of the picture.
    mask: a picture of the same proportions, white on the object; None without one.
    references: other pictures of it, transparent or white around it; empty: it is cut out by its mask.
    """

    name: str
    box: Box
    mask: Path | None
    references: tuple[Path, ...]


@dataclass(frozen=True)
class LabeledPicture:
    """One picture with its caption and objects. line: its number in the list, from 1."""

    path: Path
    caption: str
    objects: tuple[LabeledObject, ...]
    line: int

    @property
    def files(self) -> list[Path]:
        """The picture, and its objects' masks and references."""
        of_objects = (path for each in self.objects for path in (each.mask, *each.references) if path)
        return [self.path, *of_objects]


def read_labeled_pictures(folder: Path) -> list[LabeledPicture]:
    """The pictures that a folder's metadata.jsonl lists; no picture is opened.

    Raises ConfigError naming the line and what is wrong in it.
    """
    if not is_folder(folder):
        raise ConfigError(f"{shown_path(folder)} is not a folder of pictures")
    try:
        path = find_file(folder / LABELS, "list of pictures", (".jsonl",))
    except Cones2Error as error:
        raise ConfigError(str(error)) from error
    try:
        pictures = [_picture(folder, line, number) for number, line in _lines(path) if line.strip()]
    except OSError as error:
        raise ConfigError(f"{shown_path(path)} cannot be read: {error.strerror}") from error
    if not pictures:
        raise ConfigError(f"{shown_path(folder / LABELS)} lists no picture")
    return pictures


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of the list with their numbers. Raises ConfigError for one, or a list, that is too long."""
    with path.open("rb") as stream:
        for number in range(1, _MAX_LINES + 1):
            line = stream.readline(_MAX_LINE + 1)
            if len(line) > _MAX_LINE:
                raise ConfigError(f"{LABELS}, line {number}: it is longer than {_MAX_LINE:,} bytes")
            if stream.tell() > _MAX_BYTES:
                raise ConfigError(f"{shown_path(path)} is larger than {_MAX_BYTES:,} bytes, the most that are read")
            if not line:
                return
            yield number, line
        if stream.read(1):
            raise ConfigError(f"{shown_path(path)} has more than {_MAX_LINES:,} lines, the most that are read")


def _picture(folder: Path, line: bytes, number: int) -> LabeledPicture:
    where = f"{LABELS}, line {number}"
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: it is not JSON") from error
    _check_keys(values, _SCENE_KEYS, where)
    caption, objects = values.get("text"), values.get("objects")
    if not isinstance(caption, str) or not caption.strip() or len(caption) > _MAX_CAPTION:
        raise ConfigError(f'{where}: "text" is not a caption of 1 to {_MAX_CAPTION} characters')
    if _SURROGATE.search(caption):
        raise ConfigError(f'{where}: the text "{shown(caption, 80)}" has half of a character')
    if not isinstance(objects, list) or not 1 <= len(objects) <= MAX_OBJECTS:
        raise ConfigError(f'{where}: "objects" is not a list of 1 to {MAX_OBJECTS} objects')
    found = tuple(_object(folder, each, caption, where) for each in objects)
    names = [each.name.lower() for each in found]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{where}: two objects are named {listed(twice)}: their places could not be told apart")
    return LabeledPicture(_file(folder, values.get("file_name"), '"file_name"', where), caption, found, number)


def _object(folder: Path, values: Any, caption: str, where: str) -> LabeledObject:
    _check_keys(values, _OBJECT_KEYS, f"{where}: an object")
    if not isinstance(values.get("name"), str):
        raise ConfigError(f'{where}: an object lacks its "name"')
    try:
        name = subject_phrase(values["name"], ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    where = f'{where}: the object "{shown(name, 40)}"'
    if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", caption, re.IGNORECASE):
        raise ConfigError(f'{where} is not named in the text "{shown(caption, 80)}"')
    references = values.get("references", [])
    if not isinstance(references, list) or len(references) > MAX_OBJECTS:
        raise ConfigError(f'{where}: "references" is not a list of up to {MAX_OBJECTS} files')
    if values.get("mask") is None and not references:
        raise ConfigError(f"{where} has neither a mask nor references")
    return LabeledObject(
        name,
        _box(values.get("box"), where),
        None if values.get("mask") is None else _file(folder, values["mask"], '"mask"', where),
        tuple(_file(folder, each, '"references"', where) for each in references),
    )


def _check_keys(values: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is not an object with {', '.join(known)}")
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ConfigError(f"{where} has {listed(unknown)}; there are: {', '.join(known)}")


def _box(value: Any, where: str) -> Box:
    numbers = value if isinstance(value, list) and len(value) == 4 else []
    if not numbers or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        raise ConfigError(f'{where}: "box" is not [x, y, width, height] in fractions of the picture')
    if any(abs(each) > 1 + _SLACK or not math.isfinite(each) for each in numbers):
        raise ConfigError(f'{where}: "box" is {shown(numbers, 60)}: fractions of the picture from 0 to 1 are needed')
    x, y, width, height = (float(each) for each in numbers)
    if min(x, y) < -_SLACK or max(x + width, y + height) > 1 + _SLACK or min(width, height) <= 0:
        raise ConfigError(f'{where}: "box" is {shown(numbers, 60)}, which leaves the picture or is empty')
    return Box(x, y, width, height)


def _file(folder: Path, value: Any, key: str, where: str) -> Path:
    """A file inside the folder. Raises ConfigError for one that is elsewhere or missing."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {key} is not the name of a file")
    inside = PurePosixPath(value.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or ":" in value or "\0" in value:
        raise ConfigError(f"{where}: {key} {shown(value, 80)} is not a path inside the folder")
    path = folder / inside
    try:
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):  # a symbolic link
                raise ConfigError(f"{where}: {key} {shown(value, 80)} is not a path inside the folder")
            return path
    except OSError:
        pass
    raise ConfigError(f"{where}: there is no file {shown(value, 80)}")
