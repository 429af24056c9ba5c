"""The state of an unfinished run, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import CheckpointError, ConfigError
from ..messages import shown
from ..storage.files import shown_path, write_atomically

FORMAT = "cones2-training-1"
_PARTS = {"data", "method", "optimizer", "scaler", "state"}
_FREE = frozenset({"steps", "patience"})  # a finished constant-rate run may be continued for longer


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its destination, then move it there. Raises Cones2Error when the disk refuses."""

    def write(stream: BinaryIO) -> None:
        try:
            torch.save({"format": FORMAT, **state}, stream)
        except RuntimeError as error:  # torch's own report of a write that failed
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    write_atomically(path, write, overwrite=True)


def read_checkpoint(path: Path, numbers: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The state in a checkpoint of the same run; nothing in the file is executed.

    numbers: the configuration it must agree with. data: fingerprint of the photos. Raises
    CheckpointError naming what differs, or that the file is damaged; ConfigError when it could not be loaded.
    """
    name = shown_path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many kinds; all mean an unreadable file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        kind = ConfigError if isinstance(error, OSError | MemoryError) else CheckpointError  # the file may be good
        raise kind(f"{name} cannot be read as a training checkpoint: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{name} is not a training checkpoint of this version ({FORMAT})")
    _check_same_run(name, state, numbers, data)
    return state


def _check_same_run(name: str, state: Mapping[str, Any], numbers: Mapping[str, Any], data: str) -> None:
    free = _FREE if numbers.get("schedule") == "constant" else frozenset({"patience"})
    saved = state.get("numbers")
    if not isinstance(saved, dict) or not state.keys() >= _PARTS:
        raise CheckpointError(f"{name} is not a whole training checkpoint: delete it to start anew")
    different = [key for key in numbers if key not in free and saved.get(key) != numbers[key]]
    if different:
        changes = ", ".join(f"{key} {shown(repr(saved.get(key)))} → {shown(repr(numbers[key]))}" for key in different)
        raise CheckpointError(f"{name} belongs to a run with other settings ({changes}): delete it or restore them")
    if state["data"] != data:
        raise CheckpointError(f"{name} belongs to a run on other photos: delete it or restore them")
