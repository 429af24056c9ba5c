"""Residual files as the world has them: published ones, and those of bad intentions or failing disks."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from functools import cache
from typing import Any

import torch
from torch import Tensor


class RunsCode:
    """Unpickled, it makes the folder `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def saved(value: Any, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def saved_on_gpu(tensor: Tensor) -> bytes:
    """The file as a machine with a GPU writes it: its pickle says cuda:0."""
    content = saved(tensor)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        instructions = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    tagged = instructions.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert tagged != instructions
    return with_members(content, {"data.pkl": tagged})


def with_members(content: bytes, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A torch.save archive with members replaced; their names without the archive's own folder."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    folder = next(iter(members)).split("/")[0]
    return zip_of(members | {f"{folder}/{name}": data for name, data in changes.items()}, compression)


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def saved_as(instructions: bytes) -> bytes:
    """An archive of eight numbers that this pickle describes."""
    return with_members(saved(torch.ones(1, 8)), {"data.pkl": instructions})


def whole_number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x09" + value.to_bytes(9, "little")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor_pickle(
    elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, key: str = "0", end: bytes = b""
) -> bytes:
    """data.pkl of a float32 tensor that claims a storage of `elements` numbers; end: more about the storage."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(whole_number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + whole_number(elements)
    arguments = b"(" + storage + end + b"tQ" + whole_number(offset) + numbers(size) + numbers(stride)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89ccollections\nOrderedDict\n)Rt" + b"R."


def doubled(depth: int) -> bytes:
    """Instructions for a tuple that holds the tuple before twice, and so on: 2^depth of them to hash."""
    levels = (b"h" + bytes([level]) + b"\x86q" + bytes([level + 1]) for level in range(depth))
    return b")q\x00" + b"".join(levels)


def legacy_of(value: bytes, keys: bytes = b"\x80\x02]" + text("0") + b"a.") -> bytes:
    """A legacy file of 8 float32 numbers with the given pickles for the object and the storage keys."""
    machine = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + machine
    return head + value + keys + struct.pack("<q", 8) + torch.ones(8).numpy().tobytes()


def slow_files() -> dict[str, bytes]:
    """Small files that a careless reader would need ages, or all memory, for."""
    start = b"\x80\x02"
    key = start + b"}" + doubled(100) + b"Ns."
    storage = start + b"(" + text("storage") + b"ctorch\nFloatStorage\n" + doubled(100) + text("cpu") + b"K\x08tQ."
    hooks = tensor_pickle(8, (1, 8), (8, 1)).replace(b")Rt", doubled(100) + b"\x85Rt")
    return {
        "doubled tuples as a key": saved_as(key),
        "doubled tuples as a storage key": saved_as(storage),
        "doubled tuples as an argument": saved_as(hooks),
        "doubled tuples as a key, legacy": legacy_of(key),
        "doubled tuples as the machine's key, legacy": pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        + pickle.dumps(1001, 2)
        + key,
        "doubled tuples in the list of keys, legacy": legacy_of(tensor_pickle(8, (1, 8), (8, 1), end=b"N"), key),
        "doubled lists": saved_as(start + b"".join(b"]q\x01h\x00h\x00\x86aq\x00" for _ in range(100)) + b"."),
        "duplicates": saved_as(start + b")" + b"2\x86" * 100 + b"."),
        "nested tuples": saved_as(start + b")" + b"\x85" * 60_000 + b"."),
        "nested lists": saved_as(start + b"]" * 30_000 + b"a" * 29_999 + b"."),
        "nested tuples as a key": saved_as(start + b"})" + b"\x85" * 60_000 + b"Ns."),
        "nested calls": saved_as(start + b"ccollections\nOrderedDict\nq\x00" + b"h\x00)R\x85R" * 10_000 + b"."),
        "a huge number": saved_as(start + b"\x8b" + struct.pack("<I", 3 << 20) + b"\x7f" * (3 << 20) + b"."),
        "a huge decimal number": saved_as(start + b"L" + b"9" * (3 << 20) + b"L\n."),
        "huge sizes": saved_as(
            tensor_pickle(8, (1,), (1,)).replace(b"(J\x01\0\0\0t", b"(" + b"\x8a\xff" + b"\x7f" * 255 + b"t")
        ),
        "many marks": saved_as(start + b"(" * 30_000 + b"t" * 30_000 + b"."),
    }


def safetensors_file(header: Any, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def one_tensor(shape: list[int], end: int, dtype: str = "F32", payload: bytes = b"") -> bytes:
    return safetensors_file({"residual": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}, payload)


@cache
def refused_files(folder: str) -> dict[str, tuple[bytes, str]]:
    """Name → (content, what the message says); the ones that run code would make `folder`."""
    good, legacy = saved(torch.ones(1, 8)), saved(torch.ones(1, 8), legacy=True)
    spread = (10**9, 1024)
    return {
        "code": (saved(RunsCode(folder)), r"refers to \w+\.mkdir"),
        "code, legacy": (saved(RunsCode(folder), legacy=True), r"refers to \w+\.mkdir"),
        "code, plain pickle": (pickle.dumps(RunsCode(folder), 4), "uses the pickle instruction FRAME"),
        "code, protocol 0": (pickle.dumps(RunsCode(folder), 0), "neither"),
        "code, protocol 2": (pickle.dumps(RunsCode(folder), 2), r"refers to \w+\.mkdir"),
        "code beside a tensor": (saved([torch.ones(1, 8), RunsCode(folder)]), r"refers to \w+\.mkdir"),
        "empty": (b"", "the file is empty"),
        "text": (b"my dog\n" * 99, "neither a whole safetensors file nor a tensor saved by torch.save"),
        "json": (b"{}", "neither"),
        "short": (b"PK", "damaged"),
        "one byte": (b"\x80", "damaged"),
        "truncated": (good[:-100], "damaged"),
        "truncated, legacy": (legacy[:-5], "claims 32 bytes but the file holds 27"),
        "truncated safetensors": (one_tensor([1, 8], 32, payload=bytes(31)), "neither"),
        "another archive": (zip_of({"a.txt": b"a"}), "not a tensor saved by torch.save"),
        "two pickles": (zip_of({"a/data.pkl": b"", "b/DATA.pkl": b""}), "not a tensor saved by torch.save"),
        "zip bomb": (with_members(good, {"data/0": bytes(1 << 25)}, zipfile.ZIP_DEFLATED), "unpacks to more"),
        "big-endian": (with_members(good, {"byteorder": b"big"}), "big-endian"),
        "long pickle": (with_members(good, {"data.pkl": b"\x80\x02" + b"N0" * 50_000 + b"N."}), "far longer"),
        "expanded view": (saved(torch.zeros(1, 1).expand(*spread)), "claims"),
        "smaller expanded view": (saved(torch.zeros(1, 1).expand(75, 768)), "claims 230,400 bytes"),
        "huge claims": (
            with_members(good, {"data.pkl": tensor_pickle(10**12, spread, (1024, 1))}),
            "claims 4,096,000,000,000 bytes",
        ),
        "storage larger than stored": (
            with_members(good, {"data.pkl": tensor_pickle(256, (1, 256), (256, 1))}),
            "claims 1,024 bytes but the file holds 32",
        ),
        "outside its storage": (
            with_members(good, {"data.pkl": tensor_pickle(8, (1, 256), (256, 1))}),
            "claims 1,024 bytes but the file holds 32",
        ),
        "legacy claims": (legacy.replace(b"K\x08", b"J\xff\xff\xff\x7f"), "claims 8,589,934,588 bytes"),
        "reaches beyond its storage": (saved_as(tensor_pickle(8, (1, 4), (8, 2), offset=4)), "claims 44 bytes"),
        "negative stride": (saved_as(tensor_pickle(8, (1, 4), (8, -1), offset=4)), "damaged"),
        "many dimensions": (saved_as(tensor_pickle(8, (1,) * 9, (1,) * 9)), "damaged"),
        "nothing but zeros": (saved_as(tensor_pickle(8, (0, 2**62), (1, 1))), "it is empty"),
        "storage of another file": (saved_as(tensor_pickle(8, (1, 8), (8, 1), key="1")), "the file holds 0"),
        "many members": (zip_of({f"archive/{number}": b"" for number in range(1001)}), "more than 1,000 files"),
        "not yet negated": (saved(torch.ones(4, dtype=torch.cfloat).conj().imag), "negate"),
        "safetensors claims": (one_tensor([1 << 30, 1024], 1 << 42), "neither"),
        "safetensors header length": (struct.pack("<Q", 1 << 62) + b"{}", "neither"),
        "safetensors without range": (safetensors_file({"residual": {}}), "neither"),
        "nested header": (safetensors_file(b'{"a":' * 5000 + b"1" + b"}" * 5000), "neither"),
        "list header": (safetensors_file([]), "neither"),
        "no tensors": (safetensors_file({}), "its tensors are: none"),
        "safetensors beyond 64 bits": (one_tensor([0, 1 << 63], 0), "neither"),
        "safetensors dimensions": (one_tensor([0] * 10_000, 0), "its tensor has shape"),
        "no columns": (one_tensor([1, 0], 0), "expected 1–75 tokens"),
        "no rows": (one_tensor([0, 1 << 60], 0), "expected 1–75 tokens"),
        "number": (saved(3.0), "holds a float"),
        "list": (saved([torch.ones(1, 8)]), "holds a list"),
        "dictionary": (saved({"dog": torch.ones(1, 8)}), r"dictionary \(keys dog\)"),
        "sparse": (saved(torch.ones(1, 8).to_sparse()), "refers to"),
        "quantized": (saved(torch.quantize_per_tensor(torch.ones(1, 8), 1.0, 0, torch.qint8)), "refers to"),
        "meta": (saved(torch.ones(1, 8, device="meta")), "refers to"),
        "subclass": (saved(torch.nn.Buffer(torch.ones(1, 8)).as_subclass(_Tensor)), "refers to"),
        "unprintable subject": (
            safetensors_file(
                {
                    "__metadata__": {"subject": "dog\x1b[2J"},
                    "residual": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
                },
                bytes(8),
            ),
            "does not print",
        ),
    }


class _Tensor(Tensor):
    pass
