"""Jobs that processes share: each is done once, and what a process leaves undone is taken over."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from cones2.cli import claims
from cones2.cli.claims import CLAIMS, Claims, turns
from cones2.cli.output import Rank

JOBS = [f"job {number}" for number in range(6)]
spawn = multiprocessing.get_context("spawn")


def do(folder: Path, number: int, fails: str = "", dies_at: str = "") -> None:
    """One process: a file per job, with the numbers of the processes that did it."""
    mine = turns(JOBS, Rank(number, 2), lambda job: (folder, job), lambda job: (folder / job).exists())
    for job in mine:
        with (folder / "log").open("a") as log:
            log.write(f"{number} {job}\n")
        if job == dies_at:
            time.sleep(600)
        if job != fails:
            (folder / job).write_text(str(number))


def done_by(folder: Path) -> dict[str, str]:
    return {job: (folder / job).read_text() for job in JOBS if (folder / job).exists()}


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_alone_every_job_that_is_not_done_has_its_turn(tmp_path: Path) -> None:
    mine = turns(JOBS, Rank(0, 1), lambda job: (tmp_path, job), lambda job: job == "job 2")
    assert list(mine) == [job for job in JOBS if job != "job 2"]
    assert not list(tmp_path.iterdir())


def test_two_processes_do_each_job_once(tmp_path: Path) -> None:
    other = spawn.Process(target=do, args=(tmp_path, 1))
    other.start()
    do(tmp_path, 0)
    other.join()
    assert len(done_by(tmp_path)) == len(log(tmp_path)) == len(JOBS)
    assert not (tmp_path / CLAIMS).exists()


def test_the_first_process_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    other = spawn.Process(target=do, args=(tmp_path, 1, "", "job 1"))
    other.start()
    while not (tmp_path / "log").exists() or "1 job 1" not in log(tmp_path):
        time.sleep(0.02)
    assert not Claims().take(tmp_path, "job 1"), "a job is taken as long as its process lives"
    other.kill()
    other.join()
    do(tmp_path, 0)
    assert done_by(tmp_path) == {job: "1" if job == "job 0" else "0" for job in JOBS}


def test_the_others_end_when_nothing_is_free(tmp_path: Path) -> None:
    holder = spawn.Process(target=do, args=(tmp_path, 0, "", "job 0"))
    holder.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.02)
    do(tmp_path, 1)
    assert set(done_by(tmp_path).values()) == {"1"} and "job 0" not in done_by(tmp_path)
    holder.kill()
    holder.join()


def test_a_failed_job_is_tried_once_by_a_process(tmp_path: Path) -> None:
    do(tmp_path, 1, fails="job 3")
    do(tmp_path, 0, fails="job 3")
    assert [line for line in log(tmp_path) if "job 3" in line] == ["1 job 3", "0 job 3"]


def test_jobs_that_share_a_lock_are_all_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_POSITIONS", 1)
    do(tmp_path, 0)
    assert len(done_by(tmp_path)) == len(JOBS)


def test_a_run_that_ends_leaves_the_claims_of_another_one(tmp_path: Path) -> None:
    other = spawn.Process(target=do, args=(tmp_path, 1, "", "job 1"))
    other.start()
    while not (tmp_path / "log").exists() or "1 job 1" not in log(tmp_path):
        time.sleep(0.02)
    ending = Claims()
    assert ending.take(tmp_path, "a job of its own")
    ending.close()
    assert not Claims().take(tmp_path, "job 1")
    other.kill()
    other.join()


def test_a_file_that_was_removed_is_not_locked(tmp_path: Path) -> None:
    mine = Claims()
    assert mine.take(tmp_path, "job 0")
    (tmp_path / CLAIMS).unlink()
    assert mine.take(tmp_path, "job 1")
    assert (tmp_path / CLAIMS).exists()
