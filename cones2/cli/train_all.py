"""Many subjects from one YAML file, each with the flags of `cones2 train`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..concepts.residual_file import load_residual
from ..errors import Cones2Error, ConfigError
from ..messages import listed, shown
from ..ranges import SUBJECTS
from ..storage.files import shown_path
from ..training.loop import Reason, TrainingResult
from ..training.run_files import RunFiles
from .claims import turns
from .output import launched, say
from .processes import this_process
from .train_options import TrainOptions
from .training_run import Models, Outcome, train_one

_LONGEST_LIST = 300  # characters of mistakes that are named
_CONTENT = "give `subjects`, a list, and if you like `defaults`"
Parse = Callable[[Sequence[str]], TrainOptions]
"""Flags of `train` → its options; raises ConfigError."""


def train_all(config: Path, parse: Parse) -> int:
    """Train every subject of the file; exit status 0 when all are done, 130 at an interrupt.

    A subject whose residual exists is skipped. One that fails is reported and the next one is
    trained. Of several launched processes each trains whole subjects by itself, and the first sums up.
    Raises ConfigError before any training when the file has mistakes, naming them all.
    """
    entries = read_entries(config, parse)
    me, models = launched(), Models()
    before = {options.name: _state(options) for options in entries}
    outcomes: dict[str, Outcome] = {}

    def is_done(options: TrainOptions) -> bool:
        return me.world > 1 and _is_done(options, before[options.name])

    try:
        for options in turns(entries, me, lambda options: (options.out, options.name), is_done):
            outcomes[options.name] = outcome = _attempt(options, models)
            if outcome.state == "interrupted":
                break
    except KeyboardInterrupt:
        if me.is_first and me.world > 1:
            print(summary(_rows(entries, outcomes, before), len(entries)))
        raise
    interrupted = any(outcome.state == "interrupted" for outcome in outcomes.values())
    if not me.is_first:  # what failed here fails in the first process too, which says so
        return 130 if interrupted else 0
    rows = _rows(entries, outcomes, before)
    print(summary(rows, len(entries)))
    return 130 if interrupted else max(outcome.status for _, outcome in rows)


def read_entries(config: Path, parse: Parse) -> list[TrainOptions]:
    """The options of each subject, at most 1,000. Paths are relative to the file's folder.

    Raises ConfigError naming the entries that are wrong, of many the first ones.
    """
    data = _read(config)
    unknown = sorted(str(key) for key in data if key not in ("defaults", "subjects"))
    subjects, defaults = data.get("subjects"), data.get("defaults") or {}
    if unknown or not isinstance(subjects, list) or not subjects or not isinstance(defaults, dict):
        raise ConfigError(f"{shown_path(config)}: {_CONTENT}{_unknown(unknown)}")
    if len(subjects) not in SUBJECTS:
        raise ConfigError(f"{shown_path(config)} has {len(subjects):,} subjects: {int(SUBJECTS.high):,} is the limit")
    entries, problems = [], []
    for number, entry in enumerate(subjects, 1):
        try:
            entries.append(_entry(entry, defaults, config.resolve().parent, parse))
        except ConfigError as error:
            problems.append(f"subject {number}: {error}")
    names = Counter(options.name for options in entries)
    twice = sorted(name for name, count in names.items() if count > 1)
    problems += [f'two subjects write to "{shown(name)}": give them a `name`' for name in twice]
    if problems:
        raise ConfigError(f"{shown_path(config)}: {_first_of(problems)}")
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
    if os.path.exists(residual) and not options.overwrite:
        return Outcome(0, "present", path=residual)
    try:
        return train_one(options, models, this_process)
    except Cones2Error as error:
        say(f"error: {shown(options.name)}: {error}")
        return Outcome(1, "failed")


def _state(options: TrainOptions) -> tuple[int, int] | None:
    """Which residual is there: when it was written, and its number on the disk; None for none."""
    try:
        found = os.stat(RunFiles(options.out, options.name).residual)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _is_done(options: TrainOptions, before: tuple[int, int] | None) -> bool:
    """Whether the residual is there; one that is to be replaced counts when it is another than before."""
    now = _state(options)
    return now is not None and (now != before or not options.overwrite)


def _rows(
    entries: Sequence[TrainOptions],
    outcomes: Mapping[str, Outcome],
    before: Mapping[str, tuple[int, int] | None],
) -> list[tuple[str, Outcome]]:
    """What became of the subjects, in their order: those trained here, and what other processes left on the disk."""
    rows = []
    for options in entries:
        if options.name in outcomes:
            rows.append((options.name, outcomes[options.name]))
        elif _is_done(options, before[options.name]):
            rows.append((options.name, _found(options, before[options.name])))
    return rows


def _found(options: TrainOptions, before: tuple[int, int] | None) -> Outcome:
    """The outcome that a residual on the disk tells of."""
    path = RunFiles(options.out, options.name).residual
    if _state(options) == before:
        return Outcome(0, "present", path=path)
    residual = load_residual(path)
    facts = residual.metadata
    held_out = float(facts["held_out_error"]) if "held_out_error" in facts else None
    reason: Reason = "converged" if facts.get("stopped") == "converged" else "finished"
    result = TrainingResult(residual.tensor, int(facts.get("steps", "0")), reason, held_out, ())
    return Outcome(0, reason, path=path, result=result)


def _entry(entry: Any, defaults: Mapping[str, Any], folder: Path, parse: Parse) -> TrainOptions:
    if not isinstance(entry, dict):
        raise ConfigError(f"{_described(entry)} is not a mapping of flags, such as subject: dog")
    flags = {str(key).replace("-", "_"): value for key, value in {**defaults, **entry}.items()}
    argv: list[str] = []
    for key, value in flags.items():
        argv += _flag(key, value)
    return parse(argv).inside(folder)


def _flag(key: str, value: Any) -> list[str]:
    name = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [name] if value else []
    if not isinstance(value, str):
        raise ConfigError(f"{shown(key, 40)} is {_described(value)}: a text or a number is needed")
    return [f"{name}={value}"]


def _read(config: Path) -> dict[str, Any]:
    try:
        from .yaml_file import read_yaml
    except ImportError as error:
        raise ConfigError("train-all needs the package PyYAML: pip install pyyaml") from error
    data = read_yaml(config, "training config")
    if not isinstance(data, dict):
        raise ConfigError(f"{shown_path(config)}: {_CONTENT}")
    return data


def _unknown(names: Sequence[str]) -> str:
    return f" (unknown: {listed(names)})" if names else ""


def _described(value: object) -> str:
    """A value of the file, whatever its size, in a few words."""
    match value:
        case str():
            return f'"{shown(value, 40)}"'
        case bool():
            return str(value).lower()
        case None:
            return "empty"
    return "a list" if isinstance(value, list) else "a mapping"


def _first_of(problems: Sequence[str]) -> str:
    """As many problems as fit into a message, and how many more there are."""
    text = problems[0]
    for count, problem in enumerate(problems[1:], 1):
        if len(text) + len(problem) > _LONGEST_LIST:
            return f"{text}; and {len(problems) - count:,} more"
        text = f"{text}; {problem}"
    return text
