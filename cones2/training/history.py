"""A run's record as a CSV file, complete after every row."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..storage.files import shown_path

Record = Mapping[str, float]
"""What one update did: its step, loss and terms, learning rate, gradient norm, seconds, validation error."""

COLUMNS = (
    "step",
    "loss",
    "error",
    "drift_first",
    "drift_rest",
    "preservation",
    "norm",
    "held_out",
    "learning_rate",
    "gradient_norm",
    "seconds",
    "prior",
)


class CsvLog:
    """A CSV file of records that is complete after every row.

    A resumed run starts it anew from the records of its checkpoint, so no step is there twice. Raises OSError
    when the file cannot be written.
    """

    def __init__(self, path: Path, history: Sequence[Record] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._stream, COLUMNS, restval="", extrasaction="ignore")
        try:
            self._writer.writeheader()
            self._stream.flush()  # else a full disk would not be noticed before the first row
            for record in history:
                self.add(record)
        except OSError:
            with suppress(OSError):
                self._stream.close()
            raise

    def add(self, record: Record) -> None:
        """Append a row and hand it to the system. Raises OSError when the disk refuses; later rows may succeed."""
        self._writer.writerow({**record, "step": int(record["step"])})
        self._stream.flush()

    def close(self) -> None:
        """No more rows."""
        self._stream.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """The records of a CSV file that CsvLog wrote. Raises OSError or ValueError when it is not such a file."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{shown_path(path)} does not have the columns of a training log")
        return [{name: float(value) for name, value in row.items() if name and value} for row in rows]
