"""What a run has finished, on the disk: one JSON line per picture, so that a killed run goes on where it was.

A folder holds `run.json` (what decides its pictures), `results*.jsonl` (one file per process) and `pictures/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..storage.files import read_limited, shown_path, write_atomically
from .scores import Seen, Verdict

_LINE = 1 << 16  # bytes of a line at most
_MOST = 1 << 30  # bytes of a file


class Key(NamedTuple):
    """Which picture: the names of its suite, arm and case."""

    suite: str
    arm: str
    case: str


@dataclass(frozen=True)
class Result:
    """One finished picture.

    picture: its file, from the run's folder on. digest: of its 8-bit pixels. forwards: passes through the network.
    """

    key: Key
    seed: int
    prompt: str
    forwards: int
    verdict: Verdict
    picture: str
    digest: str

    def line(self) -> bytes:
        """As a line of JSON."""
        fields = {**self.key._asdict(), **asdict(self)}
        del fields["key"]
        return (json.dumps(fields, ensure_ascii=False, sort_keys=True) + "\n").encode()


def parse_line(line: bytes) -> Result:
    """The result in a line. Raises ValueError, KeyError or TypeError for anything else."""
    fields = json.loads(line)
    verdict = fields.pop("verdict")
    seen = tuple(Seen(**{**one, "leaked": tuple(one["leaked"])}) for one in verdict["subjects"])
    key = Key(fields.pop("suite"), fields.pop("arm"), fields.pop("case"))
    return Result(key=key, verdict=Verdict(seen, tuple(verdict["unnamed"]), verdict["background"]), **fields)


class Results:
    """The finished pictures of a run's folder; this process appends to a file of its own.

    rank, world: of this process among those that share the run.
    """

    def __init__(self, folder: Path, rank: int = 0, world: int = 1) -> None:
        name = "results.jsonl" if world == 1 else f"results_{rank}_of_{world}.jsonl"
        self.folder, self._own = folder, folder / name
        self._known: dict[Key, Result] = {}
        self.refresh()

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def refresh(self) -> None:
        """Read what all processes have finished; a line that a killed process left half written is not there."""
        for path in sorted(self.folder.glob("results*.jsonl")):
            for line in read_limited(path, _MOST, "list of results").splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    continue
                try:
                    result = parse_line(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise ConfigError(f"{shown_path(path)} holds a line that is no result: {error}") from error
                self._known[result.key] = result

    def of(self, suite: str, arm: str) -> list[Result]:
        """The finished pictures of an arm in a suite, by case."""
        return sorted((r for r in self._known.values() if r.key[:2] == (suite, arm)), key=lambda r: r.key)

    def add(self, results: Sequence[Result]) -> None:
        """Append finished pictures, all of them or none. Raises ConfigError when the disk refuses."""
        text = b"".join(result.line() for result in results)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._own.open("ab") as stream:
                whole = _whole_length(self._own)
                stream.truncate(whole)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise ConfigError(f"{shown_path(self._own)} cannot be written: {error.strerror}") from error
        self._known |= {result.key: result for result in results}


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(0, size - _LINE)
        stream.seek(start)
        return start + stream.read().rfind(b"\n") + 1


def claim_folder(folder: Path, decides: Mapping[str, Any]) -> None:
    """Make the folder this run's, or find that it is. decides: what a run's pictures depend on, beside suite and arm.

    Raises ConfigError when the folder holds pictures that something else decided.
    """
    path = folder / "run.json"
    if path.exists():
        _check_same(path, decides)
        return
    if any(folder.glob("results*.jsonl")):
        raise ConfigError(f"{shown_path(folder)} holds results without a run.json: choose another folder")
    text = (json.dumps(decides, indent=1) + "\n").encode()
    write_atomically(path, lambda stream: stream.write(text), overwrite=True)


def _check_same(path: Path, decides: Mapping[str, Any]) -> None:
    try:
        before = json.loads(read_limited(path, _LINE, "description of a run"))
        if not isinstance(before, dict):
            raise ValueError("it is not an object")
    except ValueError as error:
        raise ConfigError(f"{shown_path(path)} cannot be read: {error}") from error
    other = [f"{key} {before.get(key)}, now {value}" for key, value in decides.items() if before.get(key) != value]
    if other:
        raise ConfigError(f"{shown_path(path.parent)} holds a run with {'; '.join(other)}: choose another folder")
