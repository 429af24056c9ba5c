"""The values of one config entry, read key by key; what is wrong is collected and the default is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from ..errors import Cones2Error
from ..layout.colors import RGB, parse_color
from ..layout.painted import ColorEntry
from ..layout.regions import DEFAULT_WEIGHT
from ..messages import MESSAGE_LIMIT, NAME_LIMIT, shown
from ..ranges import GUIDANCE_WEIGHT, GUIDED_STEPS, MAX_PHRASE, MAX_REGIONS, OUTSIDE_WEIGHT, REGION_WEIGHT, Range

KEYS = (
    "prompt",
    "residual_dict",
    "subject_list",
    "color_context",
    "layout",
    "guidance_steps",
    "guidance_weight",
    "weight_negative",
)
MAX_PROMPT = 10_000  # characters
_MAX_PATH = 1_000  # characters
_MAX_PROBLEMS = 50
_POSITION = Range(1, 100_000)


class ConfigSubject(NamedTuple):
    """One line of `subject_list`.

    name: the residual's, which need not be a phrase of the prompt.
    position: the token index typed for it (start token = 0), or None where none was typed.
    residual: its file; None only where a check goes on although the file is missing.
    """

    name: str
    position: int | None
    residual: Path | None


class Problems(list[str]):
    """Problems in the order they were found. A file from a stranger may have any number: the first 50 are named."""

    def append(self, text: str) -> None:
        if len(self) < _MAX_PROBLEMS:
            super().append(shown(text, MESSAGE_LIMIT))
        elif len(self) == _MAX_PROBLEMS:
            super().append(f"there are more than {_MAX_PROBLEMS} problems: the others are not listed")


@dataclass
class EntryValues:
    """One entry of a config file.

    where: how messages name it.
    folder: that paths are relative to.
    confine_to: the only folder that may be looked at, or None for any.
    residual_folders: further folders in which residuals are looked for by file name.
    """

    raw: dict[str, Any]
    where: str
    folder: Path
    confine_to: Path | None
    residual_folders: Sequence[Path]
    problems: Problems

    def prompt(self) -> str:
        value: Any = self.raw.get("prompt")
        if "prompt" not in self.raw:
            self._problem("prompt is missing: it must be a text that is not empty")
        elif not _is_text(value):
            self._wrong("prompt", value, "a text that is not empty")
        elif len(value) > MAX_PROMPT:
            self._problem(f"prompt has {len(value):,} characters: {MAX_PROMPT:,} is the limit")
        else:
            return str(value)
        return ""

    def guided_steps(self, default: int) -> int:
        steps = self._number("guidance_steps", self.raw.get("guidance_steps"), default, GUIDED_STEPS)
        if steps != int(steps):
            self._wrong("guidance_steps", steps, "a whole number")
        return int(steps)

    def guidance_weight(self, default: float) -> float:
        return self._number("guidance_weight", self.raw.get("guidance_weight"), default, GUIDANCE_WEIGHT)

    def outside_weight(self, default: float) -> float:
        return self._number("weight_negative", self.raw.get("weight_negative"), default, OUTSIDE_WEIGHT)

    def layout(self) -> Path | None:
        value = self.raw.get("layout")
        return None if value is None else self._file("layout", value)

    def subjects(self) -> tuple[ConfigSubject, ...]:
        """The lines of `subject_list` that can be used."""
        files = self._mapping("residual_dict", '{"dog": "residuals/dog.pt"}')
        value = self.raw.get("subject_list")
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong("subject_list", value, 'a list such as [["dog", 5]]')
            return ()
        lines = (self._subject(item, files) for item in self._limited("subject_list", value))
        return tuple(line for line in lines if line is not None)

    def colors(self) -> tuple[ColorEntry, ...]:
        """The color table; of one color written twice the first line counts."""
        texts: dict[RGB, str] = {}
        entries: dict[RGB, ColorEntry] = {}
        written = self._mapping("color_context", '{"255,0,0": ["dog", 2.5]}')
        for text, value in self._limited("color_context", list(written.items())):
            entry = self._color(text, value)
            if entry is None:
                continue
            if entry.color in entries:
                first = entries[entry.color]
                self._problem(
                    f"color_context: {quoted(texts[entry.color])} ({quoted(first.subject)}) and {quoted(text)} "
                    f"({quoted(entry.subject)}) are the same color"
                )
            entries.setdefault(entry.color, entry)
            texts.setdefault(entry.color, text)
        return tuple(entries.values())

    def unknown_keys(self) -> list[str]:
        """A note on the keys that are ignored."""
        unknown = sorted(self.raw.keys() - set(KEYS))
        if not unknown:
            return []
        names = ", ".join(quoted(key) for key in unknown[:8]) + (" …" if len(unknown) > 8 else "")
        return [f"{self.where}: unknown key {names} is ignored; known: {', '.join(KEYS)}"]

    def _subject(self, item: Any, files: dict[str, Any]) -> ConfigSubject | None:
        pair = _pair(item)
        if pair is None or not _is_text(pair[0]):
            self._wrong("subject_list", item, 'entries such as ["dog", 5] (residual name, token index) or "dog"')
            return None
        name, position = pair
        if len(name) > MAX_PHRASE:
            self._problem(f"subject_list: {quoted(name)} is longer than {MAX_PHRASE} characters")
            return None
        if position is not None and (type(position) is not int or position not in _POSITION):
            key = f"the position of {quoted(name)} in subject_list"
            self._wrong(key, position, "a whole number from 1 (0 is the start token)")
            position = None
        if name not in files:
            known = ", ".join(quoted(key) for key in list(files)[:8]) or "nothing"
            self._problem(f"subject_list names {quoted(name)}, but residual_dict has {known}")
            return None
        file = self._file(f"residual_dict {quoted(name)}", files[name], self.residual_folders)
        return ConfigSubject(name, position, file)

    def _color(self, text: str, value: Any) -> ColorEntry | None:
        pair = _pair(value)
        if pair is None or not _is_text(pair[0]):
            key = f"color_context {quoted(text)}"
            self._wrong(key, value, 'a subject and its weight such as ["dog", 2.5], or "dog"')
            return None
        subject, typed = pair
        if len(subject) > MAX_PHRASE:
            self._problem(f"color_context: {quoted(subject)} is longer than {MAX_PHRASE} characters")
            return None
        key = f"the weight of {quoted(subject)} in color_context {quoted(text)}"
        weight = self._number(key, typed, DEFAULT_WEIGHT, REGION_WEIGHT)
        try:
            return ColorEntry(parse_color(text), subject, weight)
        except Cones2Error as error:
            self._problem(f"color_context: {error}")
            return None

    def _file(self, key: str, value: Any, folders: Sequence[Path] = ()) -> Path | None:
        if not _is_text(value) or "\0" in value:
            self._wrong(key, value, "the path of a file")
            return None
        if len(value) > _MAX_PATH:
            self._problem(f"{key} is {quoted(value)}: a path of at most {_MAX_PATH:,} characters is needed")
            return None
        candidates = _candidates(value, self.folder)
        allowed = [path for path in candidates if _inside(path, self.confine_to)]
        elsewhere = [folder / PureWindowsPath(value).name for folder in folders]
        for path in allowed + elsewhere:
            if _is_file(path):
                return path
        looked = shown(", ".join(map(str, allowed + elsewhere)) or "nothing", 2 * NAME_LIMIT)
        outside = f" (paths outside {shown(self.confine_to)} are not allowed)" if len(allowed) < len(candidates) else ""
        self._problem(f"{key} is {quoted(value)}: no such file; looked for {looked}{outside}")
        return None

    def _number(self, key: str, value: Any, default: float, allowed: Range) -> float:
        if value is None:
            return default
        if isinstance(value, bool) or value not in allowed:
            self._wrong(key, value, f"a number from {allowed}")
            return default
        return float(value)

    def _mapping(self, key: str, example: str) -> dict[str, Any]:
        value = self.raw.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self._wrong(key, value, f"an object such as {example}")
        return {}

    def _limited(self, key: str, items: list[Any]) -> list[Any]:
        if len(items) > MAX_REGIONS:
            self._problem(f"{key} has {len(items):,} subjects: {MAX_REGIONS} is the limit")
        return items[:MAX_REGIONS]

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self.where}: {text}")

    def _wrong(self, key: str, value: Any, allowed: str) -> None:
        self._problem(f"{key} is {quoted(value)}: it must be {allowed}")


def quoted(value: Any) -> str:
    """A value as JSON, on one line of at most 80 characters."""
    try:
        return shown(json.dumps(value, ensure_ascii=False, default=str), 80)
    except RecursionError:
        return "deeply nested"


def _pair(item: Any) -> tuple[Any, Any] | None:
    """["dog", 5], ["dog"] and "dog" as two values, the second None where it is not written; None for other shapes."""
    if not isinstance(item, list):
        return item, None
    if len(item) == 1:
        return item[0], None
    return (item[0], item[1]) if len(item) == 2 else None


def _candidates(value: str, folder: Path) -> list[Path]:
    """Where a path of a config may lie: below its folder as written, then by file name beside it."""
    written = folder / value
    slashes = folder / value.replace("\\", "/")
    return list(dict.fromkeys([written, slashes, folder / PureWindowsPath(value).name]))


def _inside(path: Path, folder: Path | None) -> bool:
    try:
        return folder is None or path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of symbolic links
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # e.g. a name longer than the file system allows
        return False


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        return bool(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, written as \ud83d
        return False
