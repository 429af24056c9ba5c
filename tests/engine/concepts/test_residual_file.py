"""Residual files: those of the world and hostile ones."""

from __future__ import annotations

import logging
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as serialize
from torch import Tensor

from cones2.concepts.residual_file import MAX_FILE_BYTES, load_residual, read_residual_file
from cones2.errors import ResidualError
from tests.support.residual_files import (
    one_tensor,
    refused_files,
    saved,
    saved_as,
    saved_on_gpu,
    tensor_pickle,
)

anywhere = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, content: bytes, name: str = "dog.pt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


# --- files in the wild


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("parameter", [False, True])
def test_loads_what_the_published_training_saves(tmp_path: Path, legacy: bool, parameter: bool) -> None:
    tensor = torch.randn(1, 1024, requires_grad=True)
    content = saved(torch.nn.Parameter(tensor) if parameter else tensor, legacy)
    residual = load_residual(write(tmp_path, content, "pet_cat.pt"))
    assert (residual.subject, residual.family, residual.token_num, residual.width) == ("pet cat", "sd2", 1, 1024)
    assert torch.equal(residual.tensor, tensor.detach())
    assert not residual.tensor.requires_grad and type(residual.tensor) is Tensor
    assert residual.tensor.is_contiguous() and residual.metadata == {}


def test_loads_tensors_saved_on_a_gpu(tmp_path: Path) -> None:
    tensor = torch.randn(1, 1024)
    assert torch.equal(load_residual(write(tmp_path, saved_on_gpu(tensor))).tensor, tensor)


@pytest.mark.skipif(
    "CONES2_REAL_DATA" not in os.environ, reason="CONES2_REAL_DATA names no folder of published .pt files"
)
def test_published_files() -> None:
    files = sorted(Path(os.environ["CONES2_REAL_DATA"]).glob("**/*.pt"))
    assert files
    for path in files:
        residual = load_residual(path)
        assert residual.tensor.shape == (1, 1024)
        assert 10 < float(residual.tensor.norm()) < 40


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("container", ["torch.save", "safetensors"])
def test_other_float_types_become_float32(tmp_path: Path, dtype: torch.dtype, container: str) -> None:
    tensor = torch.randn(2, 768, dtype=dtype)
    content = saved(tensor) if container == "torch.save" else serialize({"residual": tensor})
    file = read_residual_file(write(tmp_path, content))
    assert (file.container, file.dtype) == (container, dtype)
    assert torch.equal(file.residual.tensor, tensor.float())


def test_a_vector_is_one_token(tmp_path: Path) -> None:
    assert load_residual(write(tmp_path, saved(torch.ones(768)))).tensor.shape == (1, 768)


def test_transposed_and_sliced_tensors(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    for view in (whole.T, whole[1:3], whole[:, 2]):
        loaded = load_residual(write(tmp_path, saved(view))).tensor
        assert torch.equal(loaded, view.reshape(loaded.shape))


@pytest.mark.parametrize("name", ["dog.pt", "dog.safetensors", "dog.bin", "dog"])
def test_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    for content in (saved(torch.ones(1, 8)), serialize({"residual": torch.ones(1, 8)})):
        assert load_residual(write(tmp_path, content, name)).subject == "dog"


def test_subject(tmp_path: Path) -> None:
    named = write(tmp_path, serialize({"residual": torch.ones(1, 8)}, {"subject": " hot  dog "}), "x_y.safetensors")
    assert load_residual(named).subject == "hot dog"
    assert "subject" not in load_residual(named).metadata
    assert load_residual(named, "pet cat").subject == "pet cat"
    assert load_residual(write(tmp_path, saved(torch.ones(1, 8)), "dog6_colabv6.pt")).subject == "dog6 colabv6"


def test_the_only_matrix_is_the_residual(tmp_path: Path) -> None:
    tensors = {"dog": torch.ones(2, 8), "step": torch.tensor(4)}
    assert load_residual(write(tmp_path, serialize(tensors))).token_num == 2
    two = serialize({"dog": torch.ones(1, 8), "cat": torch.ones(1, 8)})
    with pytest.raises(ResidualError, match=r'no tensor named "residual"; its tensors are: cat, dog$'):
        load_residual(write(tmp_path, two))


def test_textual_inversions_are_named_as_such(tmp_path: Path) -> None:
    embeddings: Sequence[Any] = (
        serialize({"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)}),
        serialize({"emb_params": torch.ones(1, 768)}),
        saved({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(1, 768)}, "name": "dog"}),
        saved({"<dog>": torch.ones(768)}),
    )
    for content in embeddings:
        with pytest.raises(ResidualError, match=r"dog\.pt: it is a textual-inversion embedding .*not a residual"):
            load_residual(write(tmp_path, content))


def test_another_family_than_claimed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, serialize({"residual": torch.ones(1, 768)}, {"family": "sd2"}))
    with caplog.at_level(logging.WARNING, "cones2"):
        assert load_residual(path).family == "sd1"
    assert 'says it is for "sd2" but is 768 wide (SD 1.x)' in caplog.text

    path = write(tmp_path, serialize({"residual": torch.ones(1, 4096)}, {"family": "klein4b", "encoder": "t5xxl"}))
    with caplog.at_level(logging.WARNING, "cones2"):
        assert load_residual(path).family == "flux1"
    assert 'says it is for "klein4b" but is 4096 wide (Flux.1)' in caplog.text


# --- files that are refused


def test_hostile_and_broken_files(tmp_path: Path, subtests: pytest.Subtests) -> None:
    trap = tmp_path / "trap"
    for name, (content, message) in refused_files(str(trap)).items():
        with subtests.test(name):
            path = write(tmp_path, content)
            with pytest.raises(ResidualError, match=message) as caught:
                load_residual(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)
            assert not trap.exists()


@pytest.mark.parametrize("name", ["huge claims", "legacy claims", "expanded view", "zip bomb", "safetensors claims"])
def test_claims_allocate_nothing(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, refused_files("x")[name][0])
    tracemalloc.start()
    with pytest.raises(ResidualError):
        load_residual(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * path.stat().st_size + (1 << 20)


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "a\nb", "n" * 300_000])
def test_names_in_a_file_are_escaped_and_cut(tmp_path: Path, name: str) -> None:
    for content in (
        serialize({name: torch.ones(1, 8), "other": torch.ones(1, 8)}),
        saved({name: torch.ones(1, 8)}),
        serialize({"residual": torch.ones(1, 8)}, {"subject": name + "\0"}),
    ):
        with pytest.raises(ResidualError) as caught:
            load_residual(write(tmp_path, content))
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


LONG_NAME = "\x1b" * 5000
HOSTILE = {
    "many long names": serialize({f"{number}{LONG_NAME}": torch.ones(1, 1) for number in range(9)}),
    "many long keys": saved({f"{number}{LONG_NAME}": torch.ones(1, 1) for number in range(9)}),
    "a long shape": one_tensor([1] * 200_000, 4, payload=bytes(4)),
    "a long reference": saved_as(b"\x80\x02c" + b"a" * 50_000 + b"\nb\n."),
    "a long type": saved_as(tensor_pickle(8, (1, 8), (8, 1)).replace(b"FloatStorage", b"a" * 50_000 + b"Storage")),
    "long sizes": saved_as(tensor_pickle(8, (2**62,) * 8, (1,) * 8)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_messages_about_hostile_files_are_short(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, HOSTILE[name])
    with pytest.raises(ResidualError) as caught:
        load_residual(path)
    assert str(caught.value).isprintable() and len(str(caught.value).removeprefix(str(path))) < 400


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "a\nb", "n" * 300_000])
def test_a_family_name_in_a_file_is_escaped_and_cut(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    load_residual(write(tmp_path, serialize({"residual": torch.ones(1, 768)}, {"family": name})))
    [record] = caplog.records
    assert record.getMessage().isprintable() and len(record.getMessage()) < 1000


def test_too_large_a_file(tmp_path: Path) -> None:
    with pytest.raises(ResidualError, match="larger than 16,777,216 bytes"):
        load_residual(write(tmp_path, bytes(MAX_FILE_BYTES + 1)))


def test_missing_file_names_the_residuals_there(tmp_path: Path) -> None:
    for name in ("cat.safetensors", "mug.pt", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ResidualError, match=r"dog\.pt; the folder has cat\.safetensors, mug\.pt$"):
        load_residual(tmp_path / "dog.pt")
    with pytest.raises(ResidualError, match="is not a file"):
        load_residual(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_that_are_not_numbers(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    tensor = torch.ones(1, 8, dtype=dtype)
    tensor[0, 3] = value
    for content in (saved(tensor), serialize({"residual": tensor})):
        with pytest.raises(ResidualError, match="not numbers"):
            load_residual(write(tmp_path, content))


def test_float64_beyond_float32(tmp_path: Path) -> None:
    with pytest.raises(ResidualError, match="not numbers"):
        load_residual(write(tmp_path, saved(torch.full((1, 8), 1e300, dtype=torch.float64))))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "complex64", "float8_e4m3fn"])
def test_wrong_number_types(tmp_path: Path, dtype: str) -> None:
    tensor = torch.zeros(1, 8).to(getattr(torch, dtype))
    for content in (saved(tensor), serialize({"residual": tensor})):
        with pytest.raises(ResidualError, match=f"holds {dtype} numbers, expected floating point"):
            load_residual(write(tmp_path, content))


@pytest.mark.parametrize("shape", [(), (1, 1, 8), (76, 8), (0, 8), (1, 0), (1, 65537)])
def test_wrong_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ResidualError, match="its tensor has shape"):
        load_residual(write(tmp_path, saved(torch.ones(shape))))


@anywhere
@given(data=st.data(), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_damaged_files_never_surprise(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    tensor = torch.arange(16.0).reshape(2, 8)
    content = bytearray(
        serialize({"residual": tensor}, {"subject": "dog"})
        if kind == "safetensors"
        else saved(tensor, legacy=kind == "legacy")
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    del content[data.draw(st.just(len(content)) | st.integers(0, len(content))) :]
    try:
        residual = load_residual(write(tmp_path, bytes(content)))
    except ResidualError as error:
        assert str(tmp_path / "dog.pt") in str(error)
    else:
        assert residual.tensor.isfinite().all() and residual.tensor.numel() * 2 <= len(content)


@anywhere
@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95"]))
def test_random_bytes_never_surprise(tmp_path: Path, content: bytes, start: bytes) -> None:
    with pytest.raises(ResidualError):
        load_residual(write(tmp_path, start + content))


def test_types_newer_than_torch(tmp_path: Path) -> None:
    with pytest.raises(ResidualError):
        load_residual(write(tmp_path, one_tensor([1, 8], 4, "F4", bytes(4))))
