"""What a training run shows and keeps of its steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ..errors import ConfigError
from ..messages import shown
from ..storage.files import shown_path, write_atomically
from ..storage.png import write_png
from ..training.history import CsvLog, Record
from ..training.loop import Trainer
from ..training.loss_plot import loss_curve
from ..training.run_files import RunFiles
from .output import launched, say

log = logging.getLogger(__name__)


class RunLog:
    """Progress bar, CSV file, TensorBoard, previews, and the loss curve at the end.

    What cannot be written is reported once, and the training goes on. Only at the start it is an error:
    raises ConfigError when the CSV file cannot be begun, or TensorBoard is missing.
    """

    def __init__(self, files: RunFiles, trainer: Trainer, tensorboard: bool = False) -> None:
        self._files, self._trainer = files, trainer
        self._failed: set[str] = set()
        self._board = _tensorboard(files) if tensorboard else None
        try:
            self._table = CsvLog(files.table, trainer.history)
        except OSError as error:
            raise ConfigError(f"{shown_path(files.table)} cannot be written: {error.strerror}") from error
        alone = launched().world == trainer.parallel.world
        bar: Any = tqdm if alone else _Lines
        self._bar = bar(total=trainer.config.steps, initial=trainer.step, desc=shown(files.name), unit="step")

    def add(self, record: Record) -> None:
        """One update is done."""
        self._bar.update()
        self._bar.set_postfix({"loss": f"{record['loss']:.4f}"} | self._last_validation())
        self._attempt("the CSV file", lambda: self._table.add(record))
        if (board := self._board) is not None:
            self._attempt("TensorBoard", lambda: _add_scalars(board, record))

    def add_preview(self, step: int, picture: Image.Image) -> None:
        """A picture was sampled after this update."""
        settings = {"step": step, "subject": self._trainer.config.subject}
        self._attempt("a preview", lambda: _write(self._files.preview(step), picture, settings))

    def close(self) -> None:
        """No more updates: close the files and draw the loss curve."""
        self._bar.close()
        self._attempt("the CSV file", self._table.close)
        if self._board is not None:
            self._attempt("TensorBoard", self._board.close)
        if self._trainer.history:
            self._attempt("the loss curve", self._draw_curve)

    def _draw_curve(self) -> None:
        config = self._trainer.config
        curve = loss_curve(self._trainer.history, f"{config.subject}, {config.method}")
        _write(self._files.curve, curve, {})

    def _attempt(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError) as error:  # ValueError: Cones2Error, or a subject the font cannot draw
            if what not in self._failed:
                log.warning("%s is not complete: %s", what, shown(error))
            self._failed.add(what)

    def _last_validation(self) -> dict[str, str]:
        errors = (record["held_out"] for record in reversed(self._trainer.history) if "held_out" in record)
        last = next(errors, None)
        return {} if last is None else {"held-out": f"{last:.4f}"}


class _Lines:
    """A progress bar for a terminal that several bars would garble: a line per tenth of the way."""

    def __init__(self, total: int, initial: int, desc: str, unit: str) -> None:
        self._total, self._done, self._what, self._unit = total, initial, desc, unit
        say(f"{desc}: {initial} of {total} {unit}s")

    def update(self) -> None:
        """One more."""
        self._done += 1

    def set_postfix(self, figures: Mapping[str, str]) -> None:
        """Say how far it is, if another tenth is done."""
        if self._done * 10 // self._total > (self._done - 1) * 10 // self._total:
            details = ", ".join(f"{name} {value}" for name, value in figures.items())
            say(f"{self._what}: {self._done} of {self._total} {self._unit}s, {details}")

    def close(self) -> None:
        """Nothing is left on the terminal."""


def _write(path: Path, picture: Image.Image, settings: Mapping[str, Any]) -> None:
    write_atomically(path, lambda stream: write_png(picture, stream, settings), overwrite=True)


def _add_scalars(board: Any, record: Record) -> None:
    for name, value in record.items():
        board.add_scalar(name, value, int(record["step"]))


def _tensorboard(files: RunFiles) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    try:
        return SummaryWriter(str(files.tensorboard))
    except OSError as error:
        raise ConfigError(f"{shown_path(files.tensorboard)} cannot be written: {error.strerror}") from error
