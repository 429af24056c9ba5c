"""Bare tensors of torch.save: read as torch does, and nothing is unpickled."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cones2.errors import Cones2Error
from cones2.storage.torch_pickle import read_torch_file
from tests.support.residual_files import refused_files, saved, saved_as, saved_on_gpu, slow_files, tensor_pickle

ROOT = Path(__file__).resolve().parents[3]

_WHOLE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "tensor": torch.randn(1, 1024),
    "with gradient": torch.randn(2, 768, requires_grad=True),
    "parameter": torch.nn.Parameter(torch.randn(2, 768)),
    "frozen parameter": torch.nn.Parameter(torch.randn(2, 768), requires_grad=False),
    "number": torch.tensor(3.0),
    "transposed": _WHOLE.T,
    "rows": _WHOLE[1:3],
    "column": _WHOLE[:, 2],
    "every other": _WHOLE[::2, 1::2],
    "large": torch.zeros(300, 300),  # sizes of two and four bytes
    **{
        dtype: torch.ones(2, 3).to(getattr(torch, dtype))
        for dtype in (
            *("float16", "bfloat16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64"),
            *("complex128", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32"),
        )
    },
}


# torch cannot read legacy files of types that have no storage class of their own
_ARCHIVE_ONLY = {"float8_e4m3fn", "float8_e5m2", "uint16", "uint32"}
FILES = [(name, False) for name in TENSORS] + [(name, True) for name in TENSORS if name not in _ARCHIVE_ONLY]


@pytest.mark.parametrize(("name", "legacy"), FILES)
def test_everything_that_torch_saves_is_read_as_torch_reads_it(name: str, legacy: bool) -> None:
    content = saved(TENSORS[name], legacy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about legacy files
        expected = torch.load(io.BytesIO(content), weights_only=True)
    found = read_torch_file(content)
    assert isinstance(found, Tensor)
    assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert torch.equal(*(value.detach().contiguous().reshape(-1).view(torch.uint8) for value in (found, expected)))


def test_a_tensor_saved_on_a_gpu_is_read_on_the_cpu() -> None:
    tensor = torch.randn(1, 1024)
    found = read_torch_file(saved_on_gpu(tensor))
    assert isinstance(found, Tensor) and found.device.type == "cpu" and torch.equal(found, tensor)


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
def test_a_dictionary_gives_its_keys(legacy: bool) -> None:
    values = {"dog": torch.ones(1, 8), "steps": [1, 2.5, None], "nested": {"done": True}, 7: "seven"}
    assert read_torch_file(saved(values, legacy)) == ("dog", "steps", "nested", "int")


@pytest.mark.parametrize("value", [3.0, [torch.ones(1, 8)], (torch.ones(1, 8), torch.zeros(1)), None, "dog"])
@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
def test_other_values_are_named(value: Any, legacy: bool) -> None:
    with pytest.raises(Cones2Error, match=f"it holds a {type(value).__name__}, expected a bare tensor"):
        read_torch_file(saved(value, legacy))


def test_the_makers_of_hostile_files_make_good_ones_too() -> None:
    found = read_torch_file(saved_as(tensor_pickle(8, (2, 2), (4, 2), offset=1)))
    assert isinstance(found, Tensor) and found.tolist() == [[1, 1], [1, 1]]


def test_nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: content for name, (content, _) in refused_files("/nowhere").items()}
    files |= {name: saved(TENSORS[name], legacy) for name, legacy in FILES}
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a file was unpickled"))
    monkeypatch.setattr("torch._weights_only_unpickler.Unpickler", lambda *_: pytest.fail("a file was unpickled"))
    for content in files.values():
        try:
            read_torch_file(content)
        except Cones2Error:
            continue


def test_small_files_that_would_take_ages_are_refused_at_once(tmp_path: Path) -> None:
    """In a process of its own: a reader that hangs holds the interpreter's lock and no timeout ends it."""
    names = list(slow_files())
    for number, content in enumerate(slow_files().values()):
        (tmp_path / f"{number}.pt").write_bytes(content)
    program = (
        "import sys\n"
        "from cones2.concepts.residual_file import load_residual\n"
        "from cones2.errors import ResidualError\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        load_residual(path)\n"
        "    except ResidualError as error:\n"
        "        print(error)\n"
    )
    paths = [str(tmp_path / f"{number}.pt") for number in range(len(names))]
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == paths
