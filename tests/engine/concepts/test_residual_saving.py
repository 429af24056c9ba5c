"""Residual files of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cones2
from cones2.concepts.residual import Residual, make_residual
from cones2.concepts.residual_file import load_residual, save_residual
from cones2.errors import ResidualError
from cones2.prompt.claims import PhraseRef


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 75),
    width=st.sampled_from([3, 768, 1024, 2048]),
    subject=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20),
    metadata=st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=5),
    strength=st.sampled_from([1.0, 0.5, -2.0, 0.0]),
)
def test_round_trip(
    tmp_path: Path, rows: int, width: int, subject: str, metadata: dict[str, str], strength: float
) -> None:
    residual = make_residual(subject, torch.randn(rows, width), metadata).with_strength(strength)
    loaded = load_residual(save_residual(residual, tmp_path / "dog.safetensors", overwrite=True))
    assert (loaded.subject, loaded.family, loaded.strength) == (residual.subject, residual.family, 1.0)
    assert torch.equal(loaded.tensor, residual.tensor * strength)
    own = {key: value for key, value in metadata.items() if key not in loaded_facts(loaded)}
    assert own.items() <= loaded.metadata.items()


def loaded_facts(residual: Residual) -> dict[str, str]:
    return {
        "format": "cones2-residual-1",
        "subject": residual.subject,
        "family": residual.family,
        "encoder": residual.encoder,
        "width": str(residual.width),
        "token_num": str(residual.token_num),
        "pack_version": cones2.__version__,
    }


def test_facts_and_size_of_a_saved_file(tmp_path: Path) -> None:
    training = {"method": "residual", "steps": "4000", "base_model": "SD 2.1", "notes": "é" * 1000}
    path = save_residual(make_residual("dog", torch.randn(1, 1024), training), tmp_path / "dog")
    assert path == tmp_path / "dog.safetensors"
    assert path.stat().st_size <= 16 << 10
    loaded = load_residual(path)
    assert {**loaded.metadata, "subject": "dog"} == {**training, **loaded_facts(loaded)}
    again = save_residual(loaded, tmp_path / "again")
    assert load_residual(again).metadata == loaded.metadata


@pytest.mark.parametrize("notes", ["x" * 8192, "\x01" * 2000])
def test_too_much_metadata(tmp_path: Path, notes: str) -> None:
    residual = make_residual("dog", torch.ones(1, 8), {"notes": notes})
    with pytest.raises(ResidualError, match=r"dog\.safetensors: its metadata is larger than 8,192 bytes"):
        save_residual(residual, tmp_path / "dog")
    assert not list(tmp_path.iterdir())


def test_metadata_of_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A lone surrogate stands for each byte of a file name that is no UTF-8."""
    residual = make_residual("dog", torch.ones(1, 8), {"base_model": "sd\udcff", "\udcfe": "x"})
    loaded = load_residual(save_residual(residual, tmp_path / "dog"))
    assert loaded.metadata["base_model"] == "sd\\udcff" and loaded.metadata["\\udcfe"] == "x"


@pytest.mark.parametrize("name", ["", ".", "/", ".."])
def test_a_path_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(ResidualError, match="is a folder: write the name of a file"):
        save_residual(make_residual("dog", torch.ones(1, 8)), name)


def test_saving_is_all_or_nothing(tmp_path: Path) -> None:
    residual = make_residual("dog", torch.ones(1, 8))
    with pytest.raises(ResidualError, match="not numbers"):
        save_residual(residual.with_strength(float("nan")), tmp_path / "dog")
    assert not list(tmp_path.iterdir())
    path = save_residual(residual, tmp_path / "dog")
    with pytest.raises(ResidualError, match="exists already"):
        save_residual(residual.with_reference(PhraseRef("cat")), path)
    assert load_residual(path).subject == "dog"
    assert (
        load_residual(save_residual(residual.with_reference(PhraseRef("cat")), path, overwrite=True)).subject == "cat"
    )


def test_a_chosen_occurrence_is_saved_with_its_subject(tmp_path: Path) -> None:
    second = make_residual("dog", torch.ones(1, 8)).with_reference(PhraseRef("dog", 2))
    loaded = load_residual(save_residual(second, tmp_path / "dog"))
    assert loaded.reference == second.reference == PhraseRef("dog", 2)
