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
from pathlib import Path
from typing import Any

from ..errors import Cones2Error, ConfigError
from ..layout.painted import ColorEntry
from ..messages import shown
from ..ranges import ENTRIES
from ..rules import DEFAULT_GUIDANCE, GuidanceSettings
from ..storage.files import read_limited, shown_path
from .config_values import ConfigSubject, EntryValues, Problems, quoted

log = logging.getLogger(__name__)

DEFAULT_GUIDED_STEPS = 50  # published
MAX_FILE_BYTES = 256 << 10


@dataclass(frozen=True)
class GuidanceConfig:
    """One entry of a guidance config; files are resolved and exist.

    entry: its number in the file, from 1.
    """

    prompt: str
    subjects: tuple[ConfigSubject, ...]
    colors: tuple[ColorEntry, ...]
    guided_steps: int
    guidance: GuidanceSettings
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

    problems: Problems = field(default_factory=Problems)
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
    """Like load_guidance_configs, but collects problems; a broken value is left at its default."""
    findings = Findings()
    try:
        entries = _parse_json(path, findings.problems)
    except Cones2Error as error:
        findings.problems.append(str(error))
        return [], findings
    configs = []
    for number, raw in enumerate(entries, start=1):
        where = _where(path, number)
        if not isinstance(raw, dict):
            findings.problems.append(f"{where}: must be an object with a prompt, not {quoted(raw)}")
            continue
        values = EntryValues(raw, where, path.parent, confine_to, residual_folders, findings.problems)
        configs.append(_read_entry(values, path, number))
        findings.notes += values.unknown_keys()
    return configs, findings


def _read_entry(values: EntryValues, path: Path, number: int) -> GuidanceConfig:
    return GuidanceConfig(
        guided_steps=values.guided_steps(DEFAULT_GUIDED_STEPS),
        prompt=values.prompt(),
        subjects=values.subjects(),
        colors=values.colors(),
        guidance=GuidanceSettings(
            values.guidance_weight(DEFAULT_GUIDANCE.guidance_weight),
            values.outside_weight(DEFAULT_GUIDANCE.outside_weight),
        ),
        layout=values.layout(),
        source=path,
        entry=number,
    )


def _parse_json(path: Path, problems: Problems) -> list[Any]:
    name = shown_path(path)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        known: set[str] = set()
        for key, _ in pairs:
            if key in known:
                problems.append(f"{name}: the key {quoted(key)} is written twice in one object")
            known.add(key)
        return dict(pairs)

    def no_constant(literal: str) -> Any:
        raise ConfigError(f"{name}: {literal} is not a number that a config may hold")

    try:
        text = read_limited(path, MAX_FILE_BYTES, "guidance config").decode("utf-8-sig")
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except Cones2Error:
        raise
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{name} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not a text file in UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{name} is not a usable config: {shown(error)}") from error
    entries = [data] if isinstance(data, dict) else data
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{name}: must hold a list of entries (objects with a prompt), not {quoted(data)}")
    if len(entries) > ENTRIES.high:
        raise ConfigError(f"{name} has {len(entries):,} entries: {ENTRIES.high:,} is the limit")
    return entries


def _where(source: Path, entry: int) -> str:
    return f"{shown(source)}, entry {entry}"
