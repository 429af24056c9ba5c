"""Files of many tensors, from strangers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from cones2.errors import Cones2Error
from cones2.storage.tensor_tree import read_tensor_tree


def written(path: Path, *sides: int, legacy: bool = True) -> Path:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(*sides)}, buffer, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("sides", [(7, 7, 7, 7, 0), (7, 7, 7, 0)])
def test_an_empty_tensor_of_sides_that_no_tensor_has_is_refused(tmp_path: Path, sides: tuple[int, ...]) -> None:
    path = written(tmp_path / "a.bin", *sides)
    small, large = b"K\x07" * (len(sides) - 1) + b"K\x00", b"J\xff\xff\xff\x7f" * (len(sides) - 1) + b"K\x00"
    assert small in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(small, large))
    with pytest.raises(Cones2Error, match=r"a\.bin is not a readable delta"):
        read_tensor_tree(path, 1 << 20, "delta", (".bin",))


@pytest.mark.parametrize("legacy", [True, False])
def test_an_empty_tensor_keeps_its_shape(tmp_path: Path, legacy: bool) -> None:
    found = read_tensor_tree(written(tmp_path / "a.bin", 4, 0, 2, legacy=legacy), 1 << 20, "delta", (".bin",))["a"]
    assert isinstance(found, torch.Tensor) and found.shape == (4, 0, 2)
