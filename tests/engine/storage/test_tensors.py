"""Files of tensors are recognized by their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as serialize

from cones2.errors import Cones2Error
from cones2.storage.tensors import BARE, parse_tensors, read_metadata
from tests.support.residual_files import safetensors_file, saved


def test_safetensors_come_with_names_and_metadata() -> None:
    file = parse_tensors(serialize({"dog": torch.ones(1, 8)}, {"steps": "3"}))
    assert (file.container, list(file.names), dict(file.metadata)) == ("safetensors", ["dog"], {"steps": "3"})
    assert torch.equal(file.tensors["dog"], torch.ones(1, 8))


def test_a_tensor_of_torch_save_has_no_name() -> None:
    file = parse_tensors(saved(torch.ones(1, 8)))
    assert (file.container, list(file.names)) == ("torch.save", [BARE])
    assert torch.equal(file.tensors[BARE], torch.ones(1, 8))


def test_a_dictionary_of_torch_save_has_names_alone() -> None:
    file = parse_tensors(saved({"dog": torch.ones(1, 8)}))
    assert (file.container, list(file.names), dict(file.tensors)) == ("torch.save", ["dog"], {})


def test_metadata_are_read_without_the_tensors(tmp_path: Path) -> None:
    content = serialize({"dog": torch.ones(1, 8)}, {"run": "3"})
    (tmp_path / "cut.safetensors").write_bytes(content[:-32])
    assert read_metadata(tmp_path / "cut.safetensors") == {"run": "3"}


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, serialize({"dog": torch.ones(1)})[:20], b"\2" + bytes(7) + b"[]"]
)
def test_metadata_of_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(Cones2Error, match="is not a safetensors file"):
        read_metadata(tmp_path / "x.safetensors")


def test_a_header_length_that_looks_like_a_pickle() -> None:
    """0x80 starts a pickle, and a safetensors file whose header has 128 (or 384, or …) bytes."""
    starts = set()
    for filler in range(600):
        content = serialize({"residual": torch.ones(1, 8)}, {"note": "x" * filler})
        starts.add(content[0])
        assert parse_tensors(content).container == "safetensors"
    assert 0x80 in starts


def test_an_empty_file_is_said_to_be_empty() -> None:
    with pytest.raises(Cones2Error, match=r"^the file is empty$"):
        parse_tensors(b"")


@given(
    st.recursive(
        st.none() | st.integers(-1, 2**70) | st.sampled_from(["F32", "F4", "BOOL", "x"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["residual", "__metadata__", "dtype", "shape", "data_offsets"]), inner, max_size=3
            )
        ),
        max_leaves=12,
    )
)
def test_random_headers_never_surprise(header: Any) -> None:
    with pytest.raises(Cones2Error):
        parse_tensors(safetensors_file(header, bytes(64)))
