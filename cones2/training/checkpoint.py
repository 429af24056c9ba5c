"""The state of an unfinished run, written whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..messages import listed, shown
from ..storage.files import shown_path, write_atomically
from .config import defaults

FORMAT = "cones2-training-1"
_LONGEST_TEXT = 1000  # characters; a subject has 200 at most
_SAMPLED = 1024  # numbers of a tensor, about
_PARTS = {"data", "method", "optimizer", "scaler", "state"}
_FREE = frozenset({"steps", "patience"})  # a finished constant-rate run may be continued for longer


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its destination, then move it there.

    Raises Cones2Error when the disk refuses, KeyboardInterrupt when the user does.
    """

    def write(stream: BinaryIO) -> None:
        try:
            torch.save({"format": FORMAT, **state}, stream)
        except RuntimeError as error:  # torch's own report of a write that failed
            raise _cause(error) from None

    write_atomically(path, write, overwrite=True)


def _cause(error: BaseException) -> BaseException:
    """What the disk or the user said first, else the error itself."""
    cause = error.__context__
    while cause is not None and not isinstance(cause, OSError | KeyboardInterrupt):
        cause = cause.__context__
    return cause or error


def weights_digest(weights: Iterable[Tensor]) -> str:
    """A digest of tensors, to refuse continuing with others: of their shapes and of numbers evenly out of each."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in weights:
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // _SAMPLED)].float().cpu().contiguous()
        digest.update(str(tuple(weight.shape)).encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path, numbers: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The state in a checkpoint of the same run; nothing in the file is executed.

    numbers: the configuration it must agree with. data: fingerprint of what it learns from. Raises
    CheckpointError naming what differs, or that the file is damaged; ConfigError when it could not be loaded.
    """
    name = shown_path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError) as error:  # the file may be good
        reason = getattr(error, "strerror", None) or "it does not fit into memory"
        raise ConfigError(f"{name} cannot be read as a training checkpoint: {reason}") from error
    except Exception as error:  # torch raises many kinds, and advises to run what is in the file
        raise CheckpointError(
            f"{name} cannot be read as a training checkpoint: it is damaged, or holds more than tensors"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{name} is not a training checkpoint of this version ({FORMAT})")
    _check_same_run(name, state, numbers, data)
    return state


def _check_same_run(name: str, state: Mapping[str, Any], numbers: Mapping[str, Any], data: str) -> None:
    free = _FREE if numbers.get("schedule") == "constant" else frozenset({"patience"})
    saved = state.get("numbers")
    if not isinstance(saved, dict) or not state.keys() >= _PARTS:
        raise CheckpointError(f"{name} is not a whole training checkpoint: delete it to start anew")
    saved = {**defaults(), **{key: saved[key] for key in numbers if key in saved}}
    different = [key for key in numbers if key not in free and not _is_same(saved.get(key), numbers[key])]
    if different:
        changes = listed([f"{key} {_described(saved.get(key))} → {_described(numbers[key])}" for key in different])
        raise CheckpointError(f"{name} belongs to a run with other settings ({changes}): delete it or restore them")
    if not _is_same(state["data"], data):
        raise CheckpointError(
            f"{name} belongs to a run on other photos or pictures, or with other networks: delete it or restore them"
        )


def _is_same(saved: object, wanted: object) -> bool:
    """Whether a value of the file is the wanted one; tensors and nested tuples are not even compared."""
    return _is_plain(saved) and bool(saved == wanted)


def _is_plain(value: object, inside: bool = False) -> bool:
    """Whether a value is a short text, a number, True, False or None, or a pair of such."""
    match value:
        case str():
            return len(value) <= _LONGEST_TEXT
        case int():
            return abs(value) < 2**64  # larger ones take long to print
        case tuple() if not inside:
            return len(value) <= 2 and all(_is_plain(part, inside=True) for part in value)
    return value is None or isinstance(value, float)


def _described(value: object) -> str:
    return shown(repr(value), 30) if _is_plain(value) else "another value"
