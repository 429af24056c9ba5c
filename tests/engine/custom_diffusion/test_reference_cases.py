"""Recorded results of the published Custom Diffusion code, a small part of them; tests/goldens/README.md says what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cones2.custom_diffusion.changes import LowRank
from cones2.custom_diffusion.compress import compress
from cones2.custom_diffusion.delta import make_delta, whole_weights
from cones2.custom_diffusion.layers import compvis_name, plain_name
from cones2.custom_diffusion.merge import merge_rows
from tests.parity import run as parity
from tests.parity.cd_training import augment_figures
from tests.parity.custom_diffusion import delta_cases
from tests.parity.references import References

FOLDER = Path(__file__).parents[2] / "goldens" / "CD"


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def test_names_are_those_of_the_published_converter() -> None:
    names = json.loads((FOLDER / "names.json").read_text())
    assert len(names) == 32
    assert all(compvis_name(name) == other and plain_name(other) == name for name, other in names.items())


def test_the_merge_is_the_published_one() -> None:
    stored = load_file(FOLDER / "merge.safetensors")
    base = {name: weight.float() for name, weight in part(stored, "base/").items()}
    deltas = [make_delta(whole_weights(part(stored, f"delta{number}/"))) for number in (1, 2)]
    words = stored["K_targets"]  # 8 of the wooden pot, 6 of the cat
    result = merge_rows(deltas, base, stored["kept"], [words[:8], words[8:]])
    assert result.constraint_error < 1e-4
    for name, merged in part(stored, "merged/").items():
        assert float((result.delta.weights[name].parts()["whole"] - merged).abs().max()) < 1e-2
        through = (result.delta.weights[name].parts()["whole"] - merged).double() @ stored["kept"].T
        assert float(through.abs().max()) < 3e-3


@pytest.mark.parametrize("ratio", ["0.6", "0.3", "0.9", "0.05"])
def test_the_compression_is_the_published_one(ratio: str) -> None:
    stored = load_file(FOLDER / "compression.safetensors")
    ranks = json.loads((FOLDER / "compression.json").read_text())["ranks"][ratio]
    base = {name: weight.float() for name, weight in part(stored, "base/").items()}
    small = compress(make_delta(whole_weights(part(stored, "delta/"))), base, float(ratio))
    for name, change in small.weights.items():
        assert isinstance(change, LowRank) and change.rank == ranks[name]
        assert torch.allclose(change.difference(base[name]), stored[f"{ratio}/{name}"], atol=1e-5)


def test_the_augmentation_is_the_published_one() -> None:
    (case,) = delta_cases(FOLDER)
    assert all(figure.ok for figure in augment_figures(case))


def test_the_parity_command_runs_cases_of_custom_diffusion(capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.run_all(References([FOLDER])) == 0
    assert capsys.readouterr().out.endswith("1 passed, 0 failed\n")
