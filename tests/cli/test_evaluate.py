"""`cones2 evaluate toyworld` from flags to a report, on one process and on two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cones2.cli import main
from cones2.evaluation import runner
from cones2.evaluation.results import Results
from tests.support.processes import launch

ROOT = Path(__file__).parents[2]
SMALL = ["--n", "3", "--seed", "4", "--arms", "nothing,steps=1", "both,steps=2,recurrence=off"]
pytest.importorskip("diffusers")


def bits(folder: Path) -> dict[str, str]:
    """What each picture is, and the report."""
    return {
        **{result.picture: result.digest for arm in SMALL[5:] for result in Results(folder).of("2_boxes", arm)},
        "report": (folder / "report.json").read_text(),
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert main(["evaluate", "toyworld", *SMALL, "--out", str(folder), "--processes", "1"]) == 0
    return folder


def test_a_run_leaves_pictures_a_report_and_sheets(alone: Path) -> None:
    assert len(list(alone.glob("pictures/2_boxes/*/*.png"))) == 6
    assert len(list(alone.glob("sheets/*.png"))) == 2
    assert "| nothing,steps=1 | 3 | 2 |" in (alone / "report.md").read_text()
    assert json.loads((alone / "run.json").read_text())["seed"] == 4


def test_a_rerun_draws_nothing_and_says_the_same(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bits(alone)
    monkeypatch.setattr("cones2.evaluation.runner.draw", lambda *_: pytest.fail("drawn again"))
    assert main(["evaluate", "toyworld", *SMALL, "--out", str(alone), "--processes", "1"]) == 0
    assert bits(alone) == before


def test_two_processes_give_the_bits_of_one(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, deadline = runner.draw, time.monotonic() + 300

    def after_the_other(*args: object) -> object:
        while not (tmp_path / "results_1_of_2.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return draw(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "draw", after_the_other)  # the second process loads its own
    assert main(["evaluate", "toyworld", *SMALL, "--out", str(tmp_path), "--processes", "2"]) == 0
    assert {path.name for path in tmp_path.glob("results*")} == {"results_0_of_2.jsonl", "results_1_of_2.jsonl"}
    assert bits(tmp_path) == bits(alone)


@pytest.mark.slow
def test_accelerate_s_processes_give_the_bits_of_one(alone: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    done = launch(2, "evaluate", "toyworld", *SMALL, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.name for path in tmp_path.glob("results*")} <= {"results_0_of_2.jsonl", "results_1_of_2.jsonl"}
    assert bits(tmp_path) == bits(alone)


@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_same_command(alone: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "cones2",
        "evaluate",
        "toyworld",
        *SMALL,
        "--out",
        str(tmp_path),
        "--processes",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and (not (tmp_path / "run.json").exists() or not len(Results(tmp_path))):
        time.sleep(0.02)
    running.kill()
    running.wait()
    assert 3 <= len(Results(tmp_path)) < 6, "it was killed too late to be of use"
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode == 0
    assert bits(tmp_path) == bits(alone)


def test_a_folder_of_another_run_is_refused(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "toyworld", "--n", "2", "--out", str(alone)]) == 1
    assert "holds a run with n 3, now 2; seed 4, now 0: choose another folder" in capsys.readouterr().err


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["evaluate", "toyworld", "--arms", "magic", *out]) == 1
    assert 'there is no arm "magic"' in capsys.readouterr().err
    assert main(["evaluate", "toyworld", "--residuals", str(tmp_path), "--processes", "1", *out]) == 1
    assert "has no residual of a custom subject, such as purple_yellow_mug.safetensors" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["evaluate", "toyworld", "--subjects", "7", *out])
    assert "7" in capsys.readouterr().err


def test_an_interrupt_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], alone: Path
) -> None:
    draw, drawn = runner.draw, []

    def interrupted(*args: object) -> object:
        drawn.append(args)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "draw", interrupted)
    command = ["evaluate", "toyworld", *SMALL, "--out", str(tmp_path), "--processes", "1"]
    assert main(command) == 130
    said = capsys.readouterr()
    assert f"interrupted: 3 finished pictures are kept in {tmp_path}; the same command goes on" in said.out
    assert main(command) == 0
    assert len(drawn) == 3
    assert bits(tmp_path) == bits(alone)
