"""Bare tensors saved by torch.save, from strangers: checked before anything is allocated."""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile

import torch
from torch import Tensor

from .errors import ResidualError

# every name torch.save writes for one plain tensor; anything else is somebody's code
_HARMLESS = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
    *(f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double")),
}
_MAX_PICKLE_BYTES = 64 << 10


def load_pickled_tensor(content: bytes) -> Tensor:
    """The tensor of a file that torch.save wrote, on the CPU; it may be a view of its own storage.

    Nothing is executed. Raises ResidualError for anything but one dense floating-point tensor
    whose elements are all stored in the file.
    """
    if content[:2] == b"PK":
        _check_archive(content)
    else:
        _check_names(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how old files are read
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for broken files, none of which is ours
        raise ResidualError("it is damaged or not a tensor saved by torch.save") from error
    if not isinstance(loaded, Tensor):
        raise ResidualError(f"it holds a {type(loaded).__name__}, expected a bare tensor")
    if loaded.is_sparse or loaded.is_quantized or loaded.is_meta or loaded.layout != torch.strided:
        raise ResidualError("its tensor is sparse, quantized or empty of data, expected a dense one")
    if loaded.numel() * loaded.element_size() > len(content):
        raise ResidualError(
            f"its tensor claims shape {tuple(loaded.shape)}, more than the {len(content):,} bytes of the file hold"
        )
    return loaded


def _check_archive(content: bytes) -> None:
    """Refuse archives that unpack to more than they weigh, or whose pickle names unknown things."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > 2 * len(content) + 1024:
                raise ResidualError("it is an archive that unpacks to far more than its size")
            pickles = [member for member in members if member.filename.endswith("data.pkl")]
            if len(pickles) != 1:
                raise ResidualError("it is an archive but not a tensor saved by torch.save")
            _check_names(archive.read(pickles[0]))
    except ResidualError:
        raise
    except Exception as error:  # zipfile raises several kinds for damaged archives
        raise ResidualError("it is a damaged archive") from error


def _check_names(pickle: bytes) -> None:
    """Read the pickle's instructions, without running them, for the names it would call."""
    recent: list[str] = []
    try:
        for opcode, argument, position in pickletools.genops(pickle[:_MAX_PICKLE_BYTES]):
            if isinstance(argument, str) and opcode.name != "GLOBAL":
                recent.append(argument)
            name = argument if opcode.name == "GLOBAL" else None
            if opcode.name == "STACK_GLOBAL":
                name = " ".join(recent[-2:])
            if name is not None and name not in _HARMLESS:
                raise ResidualError(
                    f"it refers to {str(name).replace(' ', '.')}, which a floating-point tensor does not need: "
                    "refused without running it"
                )
            if opcode.name == "STOP" and position is not None and pickle[:2] != b"\x80\x02":
                return
    except ResidualError:
        raise
    except Exception:  # the loader itself says what is damaged; legacy files hold raw data after the pickles
        return
