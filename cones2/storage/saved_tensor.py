"""A tensor from what its pickle says and the bytes of its storages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import Cones2Error
from ..messages import shown
from .pickle_tree import DAMAGED, Call, Name, Pairs, PersistentId

Storages = Mapping[str, bytes]
"""The numbers of tensors by storage key."""

_MAX_DIMENSIONS = 8
_STORAGES = {
    "BFloat16": "bfloat16",
    "Bool": "bool",
    "Byte": "uint8",
    "Char": "int8",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "Int": "int32",
    "Long": "int64",
    "Short": "int16",
}


def build_tensor(value: object, storages: Storages, may_be_empty: bool = False) -> Tensor:
    """The one dense tensor that the value describes; it may be a view of its storage.

    may_be_empty: whether it may have no elements. Raises Cones2Error for anything else, and for a tensor whose
    elements are not all stored.
    """
    match value:
        case Call(Name("torch._utils _rebuild_parameter"), (inner, *_)):
            value = inner
    match value:
        case Call(
            Name("torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor_v3"),
            (
                PersistentId(("storage", Name(kind), str(key), str(), int(elements), *_)),
                int(offset),
                tuple(size),
                tuple(stride),
                *more,
            ),
        ):
            dtype = _number_type(kind, more)
            unit = 1 if kind.endswith("UntypedStorage") else dtype.itemsize
            plain = len(size) <= 4 and all(type(side) is int and 0 <= side < 2**31 for side in size)
            if may_be_empty and plain and 0 in size:
                return torch.empty(size, dtype=dtype)
            return _dense(dtype, storages.get(key, b""), elements * unit, _View(offset, size, stride))
        case Call() | PersistentId() | Name():
            raise Cones2Error(DAMAGED)
    raise Cones2Error(f"it holds a {type(value).__name__}, expected a bare tensor")


def element_bytes(storage: object) -> int:
    """Bytes per element of a storage of this class; 1 for one that torch does not know."""
    text = storage.text if isinstance(storage, Name) else ""
    dtype = getattr(torch, _STORAGES.get(text.removeprefix("torch ").removesuffix("Storage"), ""), None)
    return dtype.itemsize if isinstance(dtype, torch.dtype) else 1


def _number_type(storage: str, more: list[object]) -> torch.dtype:
    """The tensor's type: that of its storage, or the last of its arguments where the storage is untyped.

    more: requires_grad, backward hooks, and either the type's name or a dictionary of pending operations.
    """
    name = _STORAGES.get(storage.removeprefix("torch ").removesuffix("Storage"))
    match more:
        case [_, _, Name(text)]:
            name = text.removeprefix("torch ")
        case [_, _, Pairs([_, *_])]:
            raise Cones2Error("its tensor is a view that torch would still conjugate or negate, expected a plain one")
    if name is None:
        raise Cones2Error(f"it refers to {shown(storage.replace(' ', '.'), 80)}, which a plain tensor does not need")
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise Cones2Error(f"its tensor holds {shown(name, 80)} numbers, which this version of torch does not know")
    return dtype


class _View(NamedTuple):
    """How a tensor lies in its storage, in elements."""

    offset: int
    size: tuple[Any, ...]
    stride: tuple[Any, ...]


def _dense(dtype: torch.dtype, data: bytes, storage_bytes: int, view: _View) -> Tensor:
    """The tensor in the bytes of its storage, which must hold every element that is claimed."""
    numbers = (view.offset, *view.size, *view.stride)
    plain = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    if not plain or len(view.size) != len(view.stride) or len(view.size) > _MAX_DIMENSIONS:
        raise Cones2Error(DAMAGED)
    count = math.prod(view.size)
    if not count:
        raise Cones2Error(f"its tensor has shape {shown(view.size, 80)}: it is empty")
    last = view.offset + sum((length - 1) * step for length, step in zip(view.size, view.stride, strict=True))
    # a view with stride 0 claims more elements than its storage has
    claimed = max(storage_bytes, count * dtype.itemsize, (last + 1) * dtype.itemsize)
    if claimed > len(data):
        claim = f"its tensor of shape {shown(view.size, 80)} claims {shown(f'{claimed:,}', 40)} bytes"
        raise Cones2Error(f"{claim} but the file holds {len(data):,}")
    whole = len(data) // dtype.itemsize * dtype.itemsize
    try:
        storage = torch.frombuffer(bytearray(data[:whole]), dtype=torch.uint8).view(dtype)
        return storage.as_strided(view.size, view.stride, view.offset)
    except (NotImplementedError, RuntimeError) as error:
        raise Cones2Error(f"its tensor holds {dtype} numbers, which cannot be read".replace("torch.", "")) from error
