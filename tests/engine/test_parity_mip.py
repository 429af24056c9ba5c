"""The committed cases of the published MIP-Adapter pass, and the runner fails on one that is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.parity import run as parity
from tests.parity.mip import mip_cases, run_mip
from tests.parity.references import Case, References

GOLDENS = Path(__file__).parents[1] / "goldens"
CASES = mip_cases(GOLDENS)


def test_all_committed_cases_are_seen() -> None:
    assert [case.name for case in CASES] == ["MIP2_one", "MIP2_own_nonsquare", "MIP2_two"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_committed_case_equals_the_published_computation(case: Case) -> None:
    outcome = run_mip(case, References([GOLDENS]))
    assert outcome.ok and len(outcome.figures) >= 3, outcome.line()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for path in (GOLDENS / "MIP2").glob("MIP2_two.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "MIP2_two.safetensors"


@pytest.mark.parametrize("name", ["output", "object_weights", "text_weight", "text_attention_before_to_out"])
def test_changed_values_fail(copied: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    tensors = load_file(copied)
    tensors[name].view(-1)[5] += 1e-3
    save_file(tensors, copied)
    assert parity.main([str(copied.parent)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed and printed.endswith("0 passed, 1 failed\n")


@pytest.mark.parametrize(("key", "value"), [("scale", 0.8), ("entity_token_lengths", [[1, 1], [2, 2]])])
def test_changed_parameters_fail(copied: Path, capsys: pytest.CaptureFixture[str], key: str, value: object) -> None:
    file = copied.with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    assert parity.main([str(copied.parent)]) == 1
    assert "0 passed, 1 failed" in capsys.readouterr().out


def test_a_case_without_its_models_says_where_they_were_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "MIP4").mkdir()
    (tmp_path / "MIP4" / "MIP4_xl_two.json").write_text("{}")
    assert parity.main([str(tmp_path)]) == 1
    assert f"there is no mip/models in {tmp_path}" in capsys.readouterr().out
