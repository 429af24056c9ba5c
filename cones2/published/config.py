"""The published guidance_config.json as values: strict about its content, unchanged in its format.

One file holds a list of entries (a single entry is accepted too):

    {"prompt": "a mug and a dog on the beach",
     "residual_dict": {"mug": "residuals/mug.pt", "dog": "residuals/dog.pt"},
     "subject_list": [["mug", 2], ["dog", 5]],
     "color_context": {"255,192,0": ["mug", 2.5], "255,0,0": ["dog", 2.5]},
     "layout": "layouts/layout_example.png",
     "guidance_steps": 50, "guidance_weight": 0.08, "weight_negative": -1e8}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from ..errors import Cones2Error, ConfigError
from ..guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT
from ..guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT
from ..layout.colors import RGB, parse_color
from ..layout.regions import DEFAULT_WEIGHT
from ..storage.files import read_limited

log = logging.getLogger(__name__)

DEFAULT_GUIDANCE_STEPS = 50  # published

# what a number may be, lowest and highest
STEPS_RANGE = (0, 1000)
GUIDANCE_WEIGHT_RANGE = (0, 1000)
OUTSIDE_WEIGHT_RANGE = (-1e30, 0)
WEIGHT_RANGE = (0, 1e6)

_SIZE_LIMIT = 1 << 20
_KEYS = (
    "prompt",
    "residual_dict",
    "subject_list",
    "color_context",
    "layout",
    "guidance_steps",
    "guidance_weight",
    "weight_negative",
)


class ConfigSubject(NamedTuple):
    """One line of `subject_list`: a residual's name, the token row typed for it, and its file.

    position: row of the conditioning (start token = 0), or None where none was typed.
    residual: None only where a check goes on although the file is missing.
    """

    name: str
    position: int | None
    residual: Path | None


class ConfigColor(NamedTuple):
    """One line of `color_context`: the color as written, the subject phrase and its weight inside."""

    color: str
    subject: str
    weight: float = DEFAULT_WEIGHT


@dataclass(frozen=True)
class GuidanceConfig:
    """One entry of a guidance config; files are resolved and exist.

    guidance_steps: 0–1000. guidance_weight: 0–1000 (0.05–0.10 recommended). weight_negative: ≤ 0.
    entry: its number in the file, from 1.
    """

    prompt: str
    subjects: tuple[ConfigSubject, ...]
    colors: tuple[ConfigColor, ...]
    guidance_steps: int
    guidance_weight: float
    weight_negative: float
    layout: Path | None
    source: Path
    entry: int

    @property
    def where(self) -> str:
        """How messages name this entry: "folder/guidance_config.json, entry 1"."""
        return _where(self.source, self.entry)


@dataclass
class Findings:
    """What was noticed in one file: problems forbid its use, notes do not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_guidance_configs(
    path: str | Path, confine_to: Path | None = None, residual_folders: Sequence[Path] = ()
) -> list[GuidanceConfig]:
    """All entries of a guidance config file, in order.

    Paths inside are taken relative to the config's own folder, then by file name beside it, residuals
    also by file name in `residual_folders`. With `confine_to` (configs uploaded by others) nothing
    outside that folder and those is looked at or used.
    Only the residuals of `subject_list` must exist. Raises ConfigError naming entry, key, value and
    what is allowed; unknown keys are logged as warnings.
    """
    configs, findings = read_configs(Path(path), confine_to, residual_folders)
    if findings.problems:
        more = len(findings.problems) - 1
        raise ConfigError(findings.problems[0] + (f" (and {more} more: see `config check`)" if more else ""))
    for note in findings.notes:
        log.warning("%s", note)
    return configs


def read_configs(
    path: Path, confine_to: Path | None = None, residual_folders: Sequence[Path] = ()
) -> tuple[list[GuidanceConfig], Findings]:
    """Like load_guidance_configs, but collects every problem; a broken value is left at its default."""
    findings = Findings()
    try:
        entries = _parse_json(path, findings)
    except Cones2Error as error:
        findings.problems.append(str(error))
        return [], findings
    configs = []
    for number, raw in enumerate(entries, start=1):
        if isinstance(raw, dict):
            configs.append(_EntryReader(raw, path, number, confine_to, residual_folders, findings).read())
        else:
            findings.problems.append(f"{_where(path, number)}: must be an object with a prompt, not {_shown(raw)}")
    return configs, findings


def _parse_json(path: Path, findings: Findings) -> list[Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                findings.problems.append(f"{path}: the key {_shown(key)} is written twice in one object")
            seen.add(key)
        return dict(pairs)

    def no_constant(literal: str) -> Any:
        raise ConfigError(f"{path}: {literal} is not a number that a config may hold")

    try:
        text = read_limited(path, _SIZE_LIMIT, "guidance config").decode("utf-8-sig")
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except Cones2Error:
        raise
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not a usable config: {error}") from error
    entries = [data] if isinstance(data, dict) else data
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: must hold a list of entries (objects with a prompt), not {_shown(data)}")
    return entries


@dataclass
class _EntryReader:
    """Reads one entry key by key; what is wrong goes to `findings` and the default is used."""

    raw: dict[str, Any]
    source: Path
    number: int
    confine_to: Path | None
    residual_folders: Sequence[Path]
    findings: Findings

    def read(self) -> GuidanceConfig:
        where = _where(self.source, self.number)
        for key in sorted(self.raw.keys() - set(_KEYS)):
            self.findings.notes.append(f"{where}: unknown key {_shown(key)} is ignored; known: {', '.join(_KEYS)}")
        steps = self.number_in("guidance_steps", self.get("guidance_steps"), DEFAULT_GUIDANCE_STEPS, *STEPS_RANGE)
        if steps != int(steps):
            self.wrong("guidance_steps", steps, "a whole number")
        return GuidanceConfig(
            prompt=self.prompt(),
            subjects=self.subjects(),
            colors=self.colors(),
            guidance_steps=int(steps),
            guidance_weight=self.number_in(
                "guidance_weight", self.get("guidance_weight"), DEFAULT_GUIDANCE_WEIGHT, *GUIDANCE_WEIGHT_RANGE
            ),
            weight_negative=self.number_in(
                "weight_negative", self.get("weight_negative"), DEFAULT_OUTSIDE_WEIGHT, *OUTSIDE_WEIGHT_RANGE
            ),
            layout=self.file("layout", self.get("layout")) if self.get("layout") is not None else None,
            source=self.source,
            entry=self.number,
        )

    def get(self, key: str) -> Any:
        return self.raw.get(key)

    def problem(self, text: str) -> None:
        self.findings.problems.append(f"{_where(self.source, self.number)}: {text}")

    def wrong(self, key: str, value: Any, allowed: str) -> None:
        self.problem(f"{key} is {_shown(value)}: it must be {allowed}")

    def prompt(self) -> str:
        value = self.get("prompt")
        if _is_text(value):
            return str(value)
        if "prompt" in self.raw:
            self.wrong("prompt", value, "a text that is not empty")
        else:
            self.problem("prompt is missing: it must be a text that is not empty")
        return ""

    def number_in(self, key: str, value: Any, default: float, low: float, high: float) -> float:
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.wrong(key, value, f"a number from {low:g} to {high:g}")
            return default
        return float(value)

    def mapping(self, key: str, example: str) -> dict[str, Any]:
        value = self.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self.wrong(key, value, f"an object such as {example}")
        return {}

    def subjects(self) -> tuple[ConfigSubject, ...]:
        files = self.mapping("residual_dict", '{"dog": "residuals/dog.pt"}')
        value = self.get("subject_list")
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong("subject_list", value, 'a list such as [["dog", 5]]')
            return ()
        read = [self.subject(item, files) for item in value]
        return tuple(subject for subject in read if subject)

    def subject(self, item: Any, files: dict[str, Any]) -> ConfigSubject | None:
        name, position, *rest = [*item, None] if isinstance(item, list) and item else [item, None]
        if not _is_text(name) or rest not in ([], [None]):
            self.wrong("subject_list", item, 'entries such as ["dog", 5] (residual name, token row) or "dog"')
            return None
        if position is not None and (type(position) is not int or not 1 <= position <= 100_000):
            self.wrong(
                f"the position of {_shown(name)} in subject_list",
                position,
                "a whole number from 1 (row 0 is the start token)",
            )
            position = None
        if name not in files:
            known = ", ".join(_shown(key) for key in files) or "nothing"
            self.problem(f"subject_list names {_shown(name)}, but residual_dict has {known}")
            return None
        return ConfigSubject(
            name, position, self.file(f"residual_dict {_shown(name)}", files[name], self.residual_folders)
        )

    def colors(self) -> tuple[ConfigColor, ...]:
        read: dict[RGB, ConfigColor] = {}
        for text, value in self.mapping("color_context", '{"255,0,0": ["dog", 2.5]}').items():
            color = self.color(text, value)
            if color is None:
                continue
            try:
                rgb = parse_color(text)
            except Cones2Error as error:
                self.problem(f"color_context: {error}")
                continue
            if rgb in read:
                same = read[rgb]
                self.problem(
                    f"color_context: {_shown(same.color)} ({_shown(same.subject)}) and {_shown(text)} "
                    f"({_shown(color.subject)}) are the same color"
                )
            read.setdefault(rgb, color)
        return tuple(read.values())

    def color(self, text: str, value: Any) -> ConfigColor | None:
        subject, weight, *rest = [*value, None] if isinstance(value, list) and value else [value, None]
        if not _is_text(subject) or rest not in ([], [None]):
            self.wrong(
                f"color_context {_shown(text)}", value, 'a subject and its weight such as ["dog", 2.5], or "dog"'
            )
            return None
        key = f"the weight of {_shown(subject)} in color_context {_shown(text)}"
        return ConfigColor(text, subject, self.number_in(key, weight, DEFAULT_WEIGHT, *WEIGHT_RANGE))

    def file(self, key: str, value: Any, folders: Sequence[Path] = ()) -> Path | None:
        if not _is_text(value) or "\0" in value:
            self.wrong(key, value, "the path of a file")
            return None
        candidates = _candidates(value, self.source.parent)
        allowed = [path for path in candidates if _inside(path, self.confine_to)]
        elsewhere = [folder / PureWindowsPath(value).name for folder in folders]
        for path in allowed + elsewhere:
            if _is_file(path):
                return path
        looked = ", ".join(str(path) for path in allowed + elsewhere) or "nothing"
        outside = f" (paths outside {self.confine_to} are not allowed)" if len(allowed) < len(candidates) else ""
        self.problem(f"{key} is {_shown(value)}: no such file; looked for {looked}{outside}")
        return None


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


def _where(source: Path, entry: int) -> str:
    return f"{source}, entry {entry}"


def _shown(value: Any) -> str:
    """The value as JSON, shortened for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."
