"""Bare tensors saved by torch.save, from strangers: checked before anything is allocated."""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile

import torch
from torch import Tensor

from ..errors import ResidualError

# every name torch.save writes for plain tensors; anything else is somebody's code
_HARMLESS = re.compile(
    r"torch\._utils _rebuild_(tensor_v[23]|parameter)"
    r"|collections OrderedDict"
    r"|torch(\.storage)? (\w+Storage|(float|u?int|complex)\d\w*)"
)
_MAX_PICKLE_BYTES = 64 << 10
_LEGACY_PICKLES = 4  # magic number, protocol, system, object; the storages' raw data comes last
_DAMAGED = "it is damaged or not a tensor saved by torch.save"


def load_pickled_tensor(content: bytes) -> Tensor:
    """The tensor of a file that torch.save wrote, on the CPU; it may be a view of its own storage.

    Nothing is executed. Raises ResidualError for anything but one dense tensor whose elements are
    all stored in the file.
    """
    stored = _check_archive(content) if content[:2] == b"PK" else _check_legacy(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how old files are read
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for broken files, none of which is ours
        raise ResidualError(_DAMAGED) from error
    if isinstance(loaded, dict):
        raise ResidualError(_dictionary_message(loaded))
    if not isinstance(loaded, Tensor):
        raise ResidualError(f"it holds a {type(loaded).__name__}, expected a bare tensor")
    _check_dense(loaded, stored)
    return loaded


def _dictionary_message(loaded: dict[object, object]) -> str:
    names = ", ".join(str(key) for key in list(loaded)[:8])
    if "string_to_param" in loaded or any(str(key).startswith("<") for key in loaded):
        return f"it is a textual-inversion embedding (keys {names}), not a residual"
    return f"it holds a dictionary (keys {names or 'none'}), expected a bare tensor"


def _check_dense(tensor: Tensor, stored: int) -> None:
    if tensor.is_sparse or tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided:
        raise ResidualError("its tensor is sparse, quantized or empty of data, expected a dense one")
    # a view with stride 0 claims more elements than its storage has; older torch versions
    # also believe a storage size that the archive does not hold
    claimed = max(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
    if claimed > stored:
        raise ResidualError(
            f"its tensor of shape {tuple(tensor.shape)} claims {claimed:,} bytes but the file holds {stored:,}"
        )


def _check_archive(content: bytes) -> int:
    """Bytes of the largest member; refuses compressed, overlapping and foreign archives."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > len(content) or any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ResidualError("it is an archive that unpacks to more than its size")
            pickles = [member for member in members if member.filename.lower().endswith("data.pkl")]
            if len(pickles) != 1:
                raise ResidualError("it is an archive but not a tensor saved by torch.save")
            orders = [archive.read(member) for member in members if member.filename.lower().endswith("byteorder")]
            instructions = archive.read(pickles[0])
    except ResidualError:
        raise
    except Exception as error:  # zipfile raises several kinds for damaged archives
        raise ResidualError("it is a damaged archive") from error
    if any(order != b"little" for order in orders):
        raise ResidualError("it was saved on a big-endian machine, which is not supported")
    _check_pickle(io.BytesIO(instructions), len(content))
    return max(member.file_size for member in members)


def _check_legacy(content: bytes) -> int:
    """Bytes of the file; refuses pickles that name unknown things or claim more than the file holds."""
    stream = io.BytesIO(content)
    for index in range(_LEGACY_PICKLES):
        _check_pickle(stream, len(content) if index == _LEGACY_PICKLES - 1 else None)
    return len(content)


def _check_pickle(stream: io.BytesIO, largest: int | None) -> None:
    """Read one pickle's instructions, without running them, for names it would call and sizes it claims."""
    start, recent = stream.tell(), [""]
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if stream.tell() - start > _MAX_PICKLE_BYTES:
                raise ResidualError("its description is far longer than a tensor needs")
            if opcode.name == "GLOBAL":
                _check_name(str(argument))
            elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                _check_name(" ".join(recent[-2:]) if opcode.name == "STACK_GLOBAL" else str(argument))
            elif isinstance(argument, str):
                recent.append(argument)
            elif isinstance(argument, int) and largest is not None and argument > largest:
                raise ResidualError(f"it claims a size of {argument:,} but the file has {largest:,} bytes")
    except ResidualError:
        raise
    except Exception as error:  # pickletools raises several kinds for damaged pickles
        raise ResidualError(_DAMAGED) from error


def _check_name(name: str) -> None:
    if not _HARMLESS.fullmatch(name):
        raise ResidualError(
            f"it refers to {name.replace(' ', '.')}, which a plain tensor does not need: refused without running it"
        )
