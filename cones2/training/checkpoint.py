"""The state of an unfinished run, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigError
from ..storage.files import write_atomically

FORMAT = "cones2-training-1"
_FREE = frozenset({"steps", "patience"})  # a finished constant-rate run may be continued for longer


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its destination, then move it there."""
    write_atomically(path, lambda stream: torch.save({"format": FORMAT, **state}, stream), overwrite=True)


def read_checkpoint(path: Path, numbers: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The state in a checkpoint of the same run; nothing in the file is executed.

    numbers: the configuration it must agree with. data: fingerprint of the photos. Raises
    CheckpointError naming what differs, or that the file is damaged; ConfigError when it could not be loaded.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many kinds; all mean an unreadable file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        kind = ConfigError if isinstance(error, OSError | MemoryError) else CheckpointError  # the file may be good
        raise kind(f"{path} cannot be read as a training checkpoint: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no training checkpoint of this version ({FORMAT})")
    _check_same_run(path, state, numbers, data)
    return state


def _check_same_run(path: Path, state: Mapping[str, Any], numbers: Mapping[str, Any], data: str) -> None:
    free = _FREE if numbers.get("schedule") == "constant" else frozenset({"patience"})
    saved = state["numbers"]
    different = [name for name in numbers if name not in free and saved.get(name) != numbers[name]]
    if different:
        changes = ", ".join(f"{name} {saved.get(name)!r} → {numbers[name]!r}" for name in different)
        raise CheckpointError(f"{path} belongs to a run with other settings ({changes}): delete it or restore them")
    if state["data"] != data:
        raise CheckpointError(f"{path} belongs to a run on other photos: delete it or restore them")
