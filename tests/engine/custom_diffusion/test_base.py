"""The base model's weights come from one set of files, and what cannot be read is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cones2.custom_diffusion.base import load_base_weights
from cones2.custom_diffusion.files import load_delta
from cones2.errors import DeltaError
from tests.support.deltas import LAYER, MIDDLE

K, V, M = f"{LAYER}.to_k.weight", f"{LAYER}.to_v.weight", f"{MIDDLE}.to_k.weight"


def model(folder: Path, files: dict[str, dict[str, float]]) -> Path:
    """A model's folder: weights full of a number, by what a file's name has behind diffusion_pytorch_model."""
    (folder / "unet").mkdir()
    for rest, numbers in files.items():
        weights = {key: torch.full((6, 8), number) for key, number in numbers.items()}
        torch.save(weights, folder / "unet" / f"diffusion_pytorch_model{rest}.bin")
    return folder


def found(folder: Path) -> dict[str, float]:
    return {key: float(weight[0, 0]) for key, weight in load_base_weights(folder).weights.items()}


def test_the_plain_file_is_taken_among_variants(tmp_path: Path) -> None:
    assert found(model(tmp_path, {"": {K: 1.0}, ".non_ema": {K: 2.0}, ".fp16": {K: 3.0}})) == {K: 1.0}


def test_all_shards_are_taken_and_no_variant_s(tmp_path: Path) -> None:
    files = {"-00001-of-00002": {K: 1.0}, "-00002-of-00002": {V: 2.0}, ".fp16-00001-of-00001": {K: 3.0, M: 3.0}}
    assert found(model(tmp_path, files)) == {K: 1.0, V: 2.0}


def test_one_variant_is_taken_where_there_is_no_plain_file(tmp_path: Path) -> None:
    assert found(model(tmp_path, {".fp16": {K: 1.0}, ".non_ema": {K: 2.0, V: 2.0}})) == {K: 1.0}


@pytest.mark.parametrize("load", [load_base_weights, load_delta])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_name_that_no_system_takes_is_one_sentence(load: Callable[[Path], object], suffix: str) -> None:
    with pytest.raises(DeltaError, match="cannot be read"):
        load(Path("x" * 300 + suffix))


@pytest.mark.parametrize("load", [load_base_weights, load_delta])
def test_a_folder_that_may_not_be_listed_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[Path], object]
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DeltaError, match="cannot be read: Permission denied"):
        load(tmp_path)
