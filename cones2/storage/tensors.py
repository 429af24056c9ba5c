"""Files of tensors from strangers: safetensors or torch.save, recognized by their content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from safetensors.torch import load as parse_safetensors
from torch import Tensor

from ..errors import Cones2Error
from .files import read_limited, shown_path
from .torch_pickle import looks_pickled, read_torch_file

BARE = ""
"""Name of a tensor that was saved without one."""


@dataclass(frozen=True, eq=False)
class TensorFile:
    """What a file of tensors holds."""

    container: Literal["safetensors", "torch.save"]
    """Format of the file."""
    tensors: Mapping[str, Tensor]
    """Tensors by name, on the CPU."""
    names: Sequence[str]
    """All names in the file, those of values that are not read included."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Texts of the file's header."""


def read_tensors(path: Path, limit: int, what: str, suffixes: Sequence[str]) -> TensorFile:
    """The tensors of a .safetensors file, or the bare tensor of one that torch.save wrote.

    Nothing in the file is executed and no more memory than a few times its size is used. limit: bytes the
    file may have. what, suffixes: as for `read_limited`. Raises Cones2Error naming the file and what is
    wrong with it.
    """
    content = read_limited(path, limit, what, suffixes)
    try:
        return parse_tensors(content)
    except Cones2Error as error:
        raise Cones2Error(f"{shown_path(path)}: {error}") from error


def parse_tensors(content: bytes) -> TensorFile:
    """As `read_tensors`, from the content of a file."""
    if not content:
        raise Cones2Error("the file is empty")
    # a safetensors file starts with the length of its header, whose bytes may look like a pickle's
    header_bytes = int.from_bytes(content[:8], "little")
    is_safetensors = header_bytes <= len(content) - 8 and content[8:9] == b"{"
    if is_safetensors or not looks_pickled(content):
        return _parse_safetensors(content, header_bytes)
    saved = read_torch_file(content)
    if isinstance(saved, Tensor):
        return TensorFile("torch.save", {BARE: saved}, [BARE])
    return TensorFile("torch.save", {}, saved)


def _parse_safetensors(content: bytes, header_bytes: int) -> TensorFile:
    try:
        # checks every claimed shape and range against the file's size before it allocates
        tensors = parse_safetensors(content)
        metadata = dict(json.loads(content[8 : 8 + header_bytes]).get("__metadata__") or {})
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        raise Cones2Error("it is neither a whole safetensors file nor a tensor saved by torch.save") from error
    return TensorFile("safetensors", tensors, list(tensors), metadata)
