"""Many subjects from one YAML file, each with the flags of `cones2 train`."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Cones2Error, ConfigError
from ..messages import shown
from ..storage.files import read_limited, shown_path
from ..training.run_files import RunFiles
from .train_options import TrainOptions
from .training_run import Models, Outcome, train_one

_MAX_BYTES = 1 << 20
_CONTENT = "give `subjects`, a list, and if you like `defaults`"
Parse = Callable[[Sequence[str]], TrainOptions]
"""Flags of `train` → its options; raises ConfigError."""


def train_all(config: Path, parse: Parse) -> int:
    """Train every subject of the file; exit status 0 when all are done, 130 at an interrupt.

    A subject whose residual exists is skipped. One that fails is reported and the next one is
    trained. Raises ConfigError before any training when the file has mistakes, naming them all.
    """
    entries = read_entries(config, parse)
    models = Models()
    rows: list[tuple[str, Outcome]] = []
    for options in entries:
        outcome = _attempt(options, models)
        rows.append((options.name, outcome))
        if outcome.state == "interrupted":
            break
    print(summary(rows, len(entries)))
    return 130 if rows[-1][1].state == "interrupted" else max(outcome.status for _, outcome in rows)


def read_entries(config: Path, parse: Parse) -> list[TrainOptions]:
    """The options of each subject. Paths are relative to the file's folder.

    Raises ConfigError naming every entry that is wrong.
    """
    data = _read(config)
    unknown = sorted(str(key) for key in data if key not in ("defaults", "subjects"))
    subjects, defaults = data.get("subjects"), data.get("defaults") or {}
    if unknown or not isinstance(subjects, list) or not subjects or not isinstance(defaults, dict):
        raise ConfigError(f"{shown_path(config)}: {_CONTENT}{_listed(unknown)}")
    entries, problems = [], []
    for number, entry in enumerate(subjects, 1):
        try:
            entries.append(_entry(entry, defaults, config.resolve().parent, parse))
        except ConfigError as error:
            problems.append(f"subject {number}: {error}")
    names = [options.name for options in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f'two subjects write to "{shown(name)}": give them a `name`' for name in twice]
    if problems:
        raise ConfigError(f"{shown_path(config)}: " + "; ".join(problems))
    return entries


def summary(rows: Sequence[tuple[str, Outcome]], total: int) -> str:
    """The table of all subjects, and how many are done."""
    lines = [f"{'subject':<24} {'state':<12} {'steps':>6} {'held-out':>9} {'norm':>7}  file"]
    for name, outcome in rows:
        result = outcome.result
        steps = str(result.steps) if result else ""
        held_out = f"{result.held_out:.5f}" if result and result.held_out is not None else ""
        norm = f"{float(result.residual.norm()):.2f}" if result else ""
        path = shown_path(outcome.path) if outcome.path else ""
        line = f"{shown(name):<24} {outcome.state:<12} {steps:>6} {held_out:>9} {norm:>7}  {path}"
        lines.append(line.rstrip())
    done = sum(outcome.status == 0 for _, outcome in rows)
    return "\n".join([*lines, f"{done} of {total} subjects are done"])


def _attempt(options: TrainOptions, models: Models) -> Outcome:
    residual = RunFiles(options.out, options.name).residual
    if residual.exists() and not options.overwrite:
        return Outcome(0, "present", path=residual)
    try:
        return train_one(options, models)
    except Cones2Error as error:
        print(f"error: {shown(options.name)}: {error}")
        return Outcome(1, "failed")


def _entry(entry: Any, defaults: Mapping[str, Any], folder: Path, parse: Parse) -> TrainOptions:
    if not isinstance(entry, dict):
        raise ConfigError(f"{shown(reprlib.repr(entry))} is not a mapping of flags, such as subject: dog")
    flags = {str(key).replace("-", "_"): value for key, value in {**defaults, **entry}.items()}
    argv: list[str] = []
    for key, value in flags.items():
        argv += _flag(key, value)
    return parse(argv).inside(folder)


def _flag(key: str, value: Any) -> list[str]:
    name = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [name] if value else []
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{shown(key)} is {shown(reprlib.repr(value))}: a text or a number is needed")
    return [f"{name}={value}"]


def _read(config: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError("train-all needs the package PyYAML: pip install pyyaml") from error
    try:
        data = yaml.safe_load(read_limited(config, _MAX_BYTES, "training config"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{shown_path(config)} is not YAML: {' '.join(str(error).split())}") from error
    except Cones2Error as error:
        raise ConfigError(str(error)) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{shown_path(config)}: {_CONTENT}")
    return data


def _listed(names: Sequence[str]) -> str:
    return f" (unknown: {', '.join(map(shown, names))})" if names else ""
