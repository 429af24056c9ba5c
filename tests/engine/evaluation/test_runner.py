"""A run finishes what is missing, and its pictures are the same however often it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cones2.evaluation import runner
from cones2.evaluation.arms import parse_arm
from cones2.evaluation.report import write_report
from cones2.evaluation.results import Results
from cones2.evaluation.runner import jobs, run
from cones2.evaluation.scores import Seen, Verdict
from cones2.evaluation.toyworld.suites import toy_suite

ARMS = (parse_arm("nothing"), parse_arm("both"))
SUITES = (toy_suite(2, "boxes", 5, 3), toy_suite(3, "free", 3, 3))


class Bench:
    """Draws noise of the cases' seeds that also depends on which cases are drawn together; stops when told to."""

    material: Any = None

    def __init__(self, stop_after: int = 99) -> None:
        self.left = stop_after

    def judge(self, pictures: torch.Tensor, cases: Any) -> list[Verdict]:
        return [Verdict(tuple(Seen(s.word, s.name, there=True) for s in case.subjects)) for case in cases]


@pytest.fixture(autouse=True)
def drawing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of two, drawn without a model; how many were drawn."""
    drawn: list[int] = []

    def draw(material: Any, arm: Any, cases: Any) -> torch.Tensor:
        drawn.append(len(cases))
        if len(drawn) in STOPS:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(sum(case.seed for case in cases) + len(arm.name))
        return torch.rand(len(cases), 3, 64, 64, generator=generator)

    STOPS.clear()
    monkeypatch.setattr(runner, "BATCH", 2)
    monkeypatch.setattr(runner, "draw", draw)
    return drawn


STOPS: set[int] = set()


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "results" not in path.name
    }


def report(folder: Path) -> dict[str, bytes]:
    write_report(Results(folder), ARMS, SUITES, {"n": 5})
    return files(folder)


def test_arms_take_turns_on_the_same_cases() -> None:
    order = [(job.suite.name, job.arm.name, [case.name for case in job.cases]) for job in jobs(ARMS, SUITES)]
    assert order[:3] == [
        ("2_boxes", "nothing", ["0000", "0001"]),
        ("2_boxes", "both", ["0000", "0001"]),
        ("2_boxes", "nothing", ["0002", "0003"]),
    ]
    assert len(order) == 10


def test_an_interrupted_run_is_continued_to_the_same_bits(tmp_path: Path, drawing: list[int]) -> None:
    run(Bench(), jobs(ARMS, SUITES), Results(tmp_path / "whole"))
    assert len(drawing) == 10
    STOPS.add(14)
    with pytest.raises(KeyboardInterrupt):
        run(Bench(), jobs(ARMS, SUITES), Results(tmp_path / "parts"))
    assert len(Results(tmp_path / "parts")) == 6
    run(Bench(), jobs(ARMS, SUITES), Results(tmp_path / "parts"))
    assert len(drawing) == 10 + 4 + 7  # nothing that was finished is drawn again
    assert report(tmp_path / "parts") == report(tmp_path / "whole")
    assert len(Results(tmp_path / "parts")) == 16


def test_a_batch_that_lost_a_line_is_drawn_whole(tmp_path: Path, drawing: list[int]) -> None:
    run(Bench(), jobs(ARMS, SUITES), Results(tmp_path))
    before = report(tmp_path)
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    run(Bench(), jobs(ARMS, SUITES), Results(tmp_path))
    assert drawing[10:] == [2]
    assert report(tmp_path) == before


def test_processes_share_all_jobs_and_give_the_bits_of_one(tmp_path: Path) -> None:
    everything = jobs(ARMS, SUITES)
    run(Bench(), everything, Results(tmp_path / "one"))
    for rank in range(3):
        run(Bench(), everything[rank::3], Results(tmp_path / "three", rank, 3))
    assert report(tmp_path / "three") == report(tmp_path / "one")


def test_the_report_has_each_arm_of_each_suite(tmp_path: Path) -> None:
    run(Bench(), jobs(ARMS, SUITES), Results(tmp_path))
    text = write_report(Results(tmp_path), (*ARMS, parse_arm("couple")), SUITES, {"n": 5})
    assert "| both | 5 | 48 | 1.00 [0.72, 1.00] | 1.00 [0.57, 1.00] | 0.00 [0.00, 0.28] |" in text
    assert "| couple | 0 | 0 | – |" in text
    assert "Do not quote this ranking" in text
    everywhere = text[text.index("### All suites together") :]
    cheapest = "cheapest within 0.02 of it `nothing` (1.00 × the forwards of a plain run)"
    assert f"- all in place: best `nothing` (1.00 × the forwards of a plain run), {cheapest}" in everywhere
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    (row,) = [row for row in rows if (row["suite"], row["arm"]) == ("3_free", "both")]
    assert row["there"] == {"hits": 9, "n": 9, "share": 1.0, "low": pytest.approx(0.7008, abs=1e-3), "high": 1.0}
    with Image.open(tmp_path / "sheets" / "2_boxes both.png") as sheet:
        assert sheet.size == (5 * 136 - 8, 128)
