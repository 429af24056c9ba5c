"""Bare tensors saved by torch.save, from strangers: read without unpickling anything.

Both formats are understood: the archive that torch writes since version 1.6 (data.pkl describes the tensor,
data/0 holds its numbers) and the legacy stream (five pickles, then the numbers).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import Cones2Error
from .archive import open_archive
from .pickle_tree import DAMAGED, MAX_BYTES, Call, Pairs, PersistentId, read_pickle
from .saved_tensor import Storages, build_tensor, element_bytes

_MAX_MEMBERS = 1000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def looks_pickled(content: bytes) -> bool:
    """Whether the file begins as torch.save begins its files."""
    return content[:2] == b"PK" or content[:1] == b"\x80"


def read_torch_file(content: bytes) -> Tensor | tuple[str, ...]:
    """The tensor of a file that torch.save wrote, on the CPU, or the keys of the dictionary it holds instead.

    The tensor may be a view of its own storage. Raises Cones2Error for anything but one dense tensor
    whose elements are all stored in the file.
    """
    saved = _read_archive(content) if content[:2] == b"PK" else _Saved(*read_legacy(content))
    if isinstance(saved.value, Pairs):
        return tuple(key if isinstance(key, str) else type(key).__name__ for key, _ in saved.value.items)
    return build_tensor(saved.value, saved.storages)


@dataclass(frozen=True, eq=False)
class _Saved:
    """What torch.save was given, and the bytes of each storage by its key."""

    value: object
    storages: Mapping[str, bytes]


def _read_archive(content: bytes) -> _Saved:
    """Refuses compressed, overlapping and foreign archives."""
    try:
        with open_archive(io.BytesIO(content), _MAX_MEMBERS) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > len(content) or any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise Cones2Error("it is an archive that unpacks to more than its size")
            files = {member.filename: archive.read(member) for member in members}
    except Cones2Error:
        raise
    except Exception as error:  # zipfile raises several kinds for damaged archives
        raise Cones2Error("it is a damaged archive") from error
    pickles = [name for name in files if name.lower().endswith("data.pkl")]
    if len(pickles) != 1 or len(files) != len(members):
        raise Cones2Error("it is an archive but not a tensor saved by torch.save")
    if any(data != b"little" for name, data in files.items() if name.lower().endswith("byteorder")):
        raise Cones2Error("it was saved on a big-endian machine, which is not supported")
    if len(files[pickles[0]]) > MAX_BYTES:
        raise Cones2Error("its description is far longer than a tensor needs")
    folder = pickles[0][: -len("data.pkl")] + "data/"
    storages = {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}
    return _Saved(read_pickle(files[pickles[0]])[0], storages)


def read_legacy(content: bytes, limit: int = MAX_BYTES) -> tuple[object, Storages]:
    """What torch.save was given before version 1.6, and its storages.

    Magic number, protocol, machine, object and storage keys as pickles of at most `limit` bytes; then a size and the
    numbers of each storage. Raises Cones2Error for anything else.
    """
    pickles: list[Any] = []
    end = 0
    for _ in range(5):
        value, end = read_pickle(content, end, limit)
        pickles.append(value)
    magic, protocol, machine, value, keys = pickles
    known = (type(magic), type(protocol)) == (int, int) and (magic, protocol) == (_LEGACY_MAGIC, _LEGACY_PROTOCOL)
    if not known or not isinstance(machine, Pairs) or not isinstance(keys, list):
        raise Cones2Error(DAMAGED)
    if machine.get("little_endian") is not True:
        raise Cones2Error("it was saved on a big-endian machine, which is not supported")
    match keys:
        case [str(key)]:
            return value, {key: content[end + 8 :]}  # after the number of its elements
    return value, _legacy_storages(value, keys, content, end)


def _legacy_storages(value: object, keys: list[object], content: bytes, start: int) -> dict[str, bytes]:
    """Storages that lie one after the other, each with its number of elements in front."""
    units = dict(_element_sizes(value))
    storages: dict[str, bytes] = {}
    for key in keys:
        if not isinstance(key, str) or key not in units or start >= len(content):
            break
        stop = start + 8 + int.from_bytes(content[start : start + 8], "little") * units[key]
        storages[key] = content[start + 8 : stop]
        start = stop
    return storages


def _element_sizes(value: object, depth: int = 8) -> Iterator[tuple[str, int]]:
    """(key, bytes of an element) of each storage that a tree of values refers to."""
    match value:
        case PersistentId(("storage", kind, str(key), *_)):
            yield key, element_bytes(kind)
        case Call() if depth:
            yield from _element_sizes(value.arguments, depth - 1)
        case Pairs() if depth:
            for _, item in value.items:
                yield from _element_sizes(item, depth - 1)
        case list() | tuple() if depth:
            for item in value:
                yield from _element_sizes(item, depth - 1)
