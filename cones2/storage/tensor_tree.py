"""Large files of many tensors from strangers, named or in nested dictionaries: adapters, deltas, checkpoints.

A torch.save archive is read member by member and never unpickled; a safetensors file is mapped. Either way the
memory taken is that of the tensors and of one more; a file from before torch 1.6 is held as a whole.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from torch import Tensor

from ..errors import Cones2Error
from ..messages import shown
from .archive import open_archive
from .files import find_file, shown_path
from .pickle_tree import DAMAGED, Pairs, read_pickle
from .saved_tensor import Storages, build_tensor
from .torch_pickle import read_legacy

TensorTree = Mapping[str, "Tensor | TensorTree"]
"""Tensors by name, at any depth; a list's by their place, "0" and so on."""


@dataclass(frozen=True, eq=False)
class TreeFile:
    """What a large file of tensors holds.

    container: format of the file.
    tree: its tensors.
    metadata: texts of a safetensors file's header.
    """

    container: Literal["safetensors", "torch.save"]
    tree: TensorTree
    metadata: Mapping[str, str] = field(default_factory=dict)


_MAX_MEMBERS = 20_000
_MAX_PICKLE = 8 << 20
_MAX_HEADER = 16 << 20
_MAX_DEPTH = 4
_READS = 4  # times the file's size: views of one storage are no way to endless reading


def read_tensor_tree(path: Path | str, limit: int, what: str, suffixes: tuple[str, ...]) -> TensorTree:
    """The tensors of a .safetensors file (one level, dots in the names) or of dictionaries that torch.save wrote.

    See `read_tree_file`.
    """
    return read_tree_file(path, limit, what, suffixes).tree


def read_tree_file(path: Path | str, limit: int, what: str, suffixes: tuple[str, ...]) -> TreeFile:
    """As `read_tensor_tree`, with the file's container and metadata.

    limit: bytes of the file at most. what: its kind, as messages name it. Tensors stay as they are stored; other
    values are left out. Nothing in the file is executed. Raises Cones2Error naming the file and what is wrong.
    """
    path = find_file(path, what, suffixes)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise Cones2Error(f"it is larger than {limit:,} bytes, the most such a file may have")
            return _read(path, stream, size)
    except Cones2Error as error:
        raise Cones2Error(f"{shown_path(path)} is not a readable {what}: {error}") from error
    except OSError as error:
        raise Cones2Error(f"{shown_path(path)} cannot be read: {error.strerror}") from error


def _read(path: Path, stream: BinaryIO, size: int) -> TreeFile:
    start = stream.read(9)
    stream.seek(0)
    if start[:2] == b"PK":
        return TreeFile("torch.save", _read_archive(stream, size))
    if start[:1] == b"\x80" and start[8:] != b"{":
        return TreeFile("torch.save", _read_stream(stream.read(size)))
    return _read_safetensors(path, stream, size)


def _read_safetensors(path: Path, stream: BinaryIO, size: int) -> TreeFile:
    header = int.from_bytes(stream.read(8), "little")
    if not 2 <= header <= min(_MAX_HEADER, size - 8) or stream.read(1) != b"{":
        raise Cones2Error("it is neither a safetensors file nor one saved by torch.save")
    from safetensors.torch import load_file

    try:
        stream.seek(8)
        metadata = dict(json.loads(stream.read(header)).get("__metadata__") or {})
        return TreeFile("safetensors", load_file(path), metadata)  # checks every shape and range against the size
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        raise Cones2Error("it is a damaged safetensors file") from error


def _read_archive(stream: BinaryIO, size: int) -> TensorTree:
    try:
        with open_archive(stream, _MAX_MEMBERS) as archive:
            members = _Members(archive, size)
            value, _ = read_pickle(members.description(), limit=_MAX_PICKLE)
            return _tree(value, _Budget(members, size), _MAX_DEPTH)
    except Cones2Error:
        raise
    except Exception as error:  # zipfile raises several kinds for damaged archives
        raise Cones2Error("it is a damaged archive") from error


def _read_stream(content: bytes) -> TensorTree:
    """The tensors of a file from before torch 1.6."""
    try:
        value, found = read_legacy(content, _MAX_PICKLE)
        return _tree(value, _Budget(found, len(content)), _MAX_DEPTH)
    except Cones2Error:
        raise
    except Exception as error:  # torch raises several kinds for claims that no tensor can have
        raise Cones2Error(DAMAGED) from error


def _tree(value: object, storages: _Budget, depth: int) -> TensorTree:
    """The dictionary as a tree. Whatever is neither a tensor nor a dictionary or list of them is left out."""
    if not isinstance(value, Pairs) or not depth:
        raise Cones2Error("it holds something other than dictionaries of tensors")
    tree: dict[str, Tensor | TensorTree] = {}
    for key, item in value.items:
        if not isinstance(key, str):
            continue
        if isinstance(item, list):
            item = Pairs([(str(place), part) for place, part in enumerate(item)])
        if isinstance(item, Pairs):
            tree[key] = _tree(item, storages, depth - 1)
        elif not isinstance(item, str | int | float | tuple | None):
            try:
                tree[key] = storages.spend(build_tensor(item, storages, may_be_empty=True))
            except Cones2Error as error:
                raise Cones2Error(f"{shown(key, 80)}: {error}") from error
    return tree


class _Budget(Mapping[str, bytes]):
    """Storages, as long as all tensors together claim no more than the file holds, and reading stays near its size."""

    def __init__(self, storages: Storages, size: int) -> None:
        self._storages, self._left, self._reads_left = storages, size, _READS * size

    def spend(self, tensor: Tensor) -> Tensor:
        """The tensor without the rest of its storage, counted against the file's size: many views cost as copies."""
        self._left -= tensor.nbytes
        if self._left < 0:
            raise Cones2Error("its tensors claim more bytes than the file holds")
        return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor

    def __getitem__(self, key: str) -> bytes:
        data = self._storages[key]
        self._reads_left -= len(data)
        if self._reads_left < 0:
            raise Cones2Error("its tensors share storages more often than those of any weights")
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._storages)

    def __len__(self) -> int:
        return len(self._storages)


class _Members(Mapping[str, bytes]):
    """The members of a torch.save archive by storage key, each read when it is asked for.

    Refuses compressed, overlapping and foreign archives.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > size:
            raise Cones2Error("it is an archive that unpacks to more than its size")
        self._archive = archive
        self._members = {member.filename: member for member in members}
        pickles = [name for name in self._members if name.lower().endswith("data.pkl")]
        if len(pickles) != 1 or len(self._members) != len(members):
            raise Cones2Error(DAMAGED)
        self._pickle, self._folder = pickles[0], pickles[0][: -len("data.pkl")]
        order = self._members.get(f"{self._folder}byteorder")
        if order is not None and archive.read(order)[:16] != b"little":
            raise Cones2Error("it was saved on a big-endian machine, which is not supported")

    def description(self) -> bytes:
        """The pickle that says what the storages are."""
        if self._members[self._pickle].file_size > _MAX_PICKLE:
            raise Cones2Error("its description is far longer than tensors need")
        return self._archive.read(self._members[self._pickle])

    def __getitem__(self, key: str) -> bytes:
        return self._archive.read(self._members[f"{self._folder}data/{key}"])

    def __iter__(self) -> Iterator[str]:
        return (name.rpartition("/")[2] for name in self._members if name.startswith(f"{self._folder}data/"))

    def __len__(self) -> int:
        return sum(1 for _ in self)
