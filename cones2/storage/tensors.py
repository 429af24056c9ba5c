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
from ..messages import listed
from .files import shown_path
from .torch_pickle import looks_pickled, read_torch_file

_MAX_HEADER_BYTES = 16 << 20
BARE = ""
"""Name of a tensor that was saved without one."""


@dataclass(frozen=True, eq=False)
class TensorFile:
    """What a file of tensors holds.

    container: format of the file.
    tensors: by name, on the CPU.
    names: all names in the file, those of values that are not read included.
    metadata: texts of the file's header.
    """

    container: Literal["safetensors", "torch.save"]
    tensors: Mapping[str, Tensor]
    names: Sequence[str]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def listed_names(self) -> str:
        """Its names as messages show them."""
        return listed(sorted(self.names))


def parse_tensors(content: bytes) -> TensorFile:
    """The tensors of a .safetensors file, or the bare tensor of one that torch.save wrote.

    Nothing in the file is executed and no more memory than a few times its size is used. Raises
    Cones2Error saying what is wrong with it.
    """
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


def read_metadata(path: Path) -> dict[str, str]:
    """The texts of a safetensors file's header; nothing behind the header is read.

    Raises Cones2Error when it is not such a file, or its header is larger than 16 MB.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            content = stream.read(length) if length <= _MAX_HEADER_BYTES else b""
        metadata = json.loads(content).get("__metadata__") or {}
        return {str(key): str(value) for key, value in metadata.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise Cones2Error(f"{shown_path(path)} is not a safetensors file that can be read") from error


def _parse_safetensors(content: bytes, header_bytes: int) -> TensorFile:
    try:
        # checks every claimed shape and range against the file's size before it allocates
        tensors = parse_safetensors(content)
        metadata = dict(json.loads(content[8 : 8 + header_bytes]).get("__metadata__") or {})
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        raise Cones2Error("it is neither a whole safetensors file nor a tensor saved by torch.save") from error
    return TensorFile("safetensors", tensors, list(tensors), metadata)
