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


def tensor_pickle(elements: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """data.pkl of a float32 tensor that claims a storage of `elements` numbers."""

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value) if value < 2**31 else b"\x8a\x09" + value.to_bytes(9, "little")

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(elements) + b"tQ"
    arguments = b"(" + storage + number(0) + numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R."


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
        "code, plain pickle": (pickle.dumps(RunsCode(folder)), r"refers to \w+\.mkdir"),
        "code, protocol 0": (pickle.dumps(RunsCode(folder), 0), "neither"),
        "code, protocol 2": (pickle.dumps(RunsCode(folder), 2), r"refers to \w+\.mkdir"),
        "code beside a tensor": (saved([torch.ones(1, 8), RunsCode(folder)]), r"refers to \w+\.mkdir"),
        "empty": (b"", "the file is empty"),
        "text": (b"my dog\n" * 99, "neither a whole safetensors file nor a tensor saved by torch.save"),
        "json": (b"{}", "neither"),
        "short": (b"PK", "damaged"),
        "one byte": (b"\x80", "damaged"),
        "truncated": (good[:-100], "damaged"),
        "truncated, legacy": (legacy[:-5], "damaged"),
        "truncated safetensors": (one_tensor([1, 8], 32, payload=bytes(31)), "neither"),
        "another archive": (zip_of({"a.txt": b"a"}), "not a tensor saved by torch.save"),
        "two pickles": (zip_of({"a/data.pkl": b"", "b/DATA.pkl": b""}), "not a tensor saved by torch.save"),
        "zip bomb": (with_members(good, {"data/0": bytes(1 << 25)}, zipfile.ZIP_DEFLATED), "unpacks to more"),
        "big-endian": (with_members(good, {"byteorder": b"big"}), "big-endian"),
        "long pickle": (with_members(good, {"data.pkl": b"\x80\x02" + b"N0" * 50_000 + b"N."}), "far longer"),
        "expanded view": (saved(torch.zeros(1, 1).expand(*spread)), "claims"),
        "smaller expanded view": (saved(torch.zeros(1, 1).expand(75, 768)), "claims 230,400 bytes"),
        "huge claims": (with_members(good, {"data.pkl": tensor_pickle(10**12, spread, (1024, 1))}), "claims a size"),
        "storage larger than stored": (
            with_members(good, {"data.pkl": tensor_pickle(256, (1, 256), (256, 1))}),
            "claims|damaged",
        ),
        "outside its storage": (
            with_members(good, {"data.pkl": tensor_pickle(8, (1, 256), (256, 1))}),
            "damaged|claims",
        ),
        "legacy claims": (legacy.replace(b"K\x08", b"J\xff\xff\xff\x7f"), "claims a size of 2,147,483,647"),
        "safetensors claims": (one_tensor([1 << 30, 1024], 1 << 42), "neither"),
        "safetensors header length": (struct.pack("<Q", 1 << 62) + b"{}", "neither"),
        "safetensors without range": (safetensors_file({"residual": {}}), "neither"),
        "nested header": (safetensors_file(b'{"a":' * 5000 + b"1" + b"}" * 5000), "neither"),
        "list header": (safetensors_file([]), "neither"),
        "no tensors": (safetensors_file({}), "its tensors are: none"),
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
            "not printable",
        ),
    }


class _Tensor(Tensor):
    pass
