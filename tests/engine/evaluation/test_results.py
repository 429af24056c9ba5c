"""Finished pictures are lines of a file: they survive a kill, and belong to one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cones2.errors import ConfigError
from cones2.evaluation.results import Key, Result, Results, claim_folder, parse_line
from cones2.evaluation.scores import Seen, Verdict


def result(case: str, arm: str = "both") -> Result:
    seen = Seen("mug", "a", there=True, in_place=True, overlap=0.123456789, foreign=True, leaked=("b",))
    verdict = Verdict((seen, Seen("dog", "b")), unnamed=("fish",), background=False)
    return Result(Key("2_boxes", arm, case), 7, "a mug – and a dog", 48, verdict, "pictures/x.png", "00ff")


def test_a_line_gives_the_result_back() -> None:
    assert parse_line(result("0000").line()) == result("0000")
    assert result("0000").line().count(b"\n") == 1


def test_finished_pictures_are_found_again(tmp_path: Path) -> None:
    results = Results(tmp_path / "new")
    results.add([result("0001"), result("0000")])
    results.add([result("0000", "nothing")])
    again = Results(tmp_path / "new")
    assert len(again) == 3 and Key("2_boxes", "both", "0001") in again
    assert again.of("2_boxes", "both") == [result("0000"), result("0001")]


def test_a_half_written_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    Results(tmp_path).add([result("0000")])
    with (tmp_path / "results.jsonl").open("ab") as stream:
        stream.write(result("0001").line()[:50])
    results = Results(tmp_path)
    assert len(results) == 1
    results.add([result("0001")])
    assert (tmp_path / "results.jsonl").read_bytes() == result("0000").line() + result("0001").line()


def test_processes_write_files_of_their_own_and_read_all(tmp_path: Path) -> None:
    first, second = Results(tmp_path, 0, 2), Results(tmp_path, 1, 2)
    first.add([result("0000")])
    second.add([result("0001")])
    assert len(second) == 1
    second.refresh()
    assert len(second) == 2 == len(Results(tmp_path))


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b"[1]\n"])
def test_a_foreign_line_is_one_sentence(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "results.jsonl").write_bytes(line)
    with pytest.raises(ConfigError, match="holds a line that is no result"):
        Results(tmp_path)


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a", {"n": 4, "seed": 0})
    claim_folder(tmp_path / "a", {"n": 4, "seed": 0})
    with pytest.raises(ConfigError, match="holds a run with n 4, now 5: choose another folder"):
        claim_folder(tmp_path / "a", {"n": 5, "seed": 0})
    (tmp_path / "a" / "run.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"run\.json cannot be read: it is not an object"):
        claim_folder(tmp_path / "a", {"n": 4, "seed": 0})
    Results(tmp_path / "b").add([result("0000")])
    with pytest.raises(ConfigError, match=r"holds results without a run\.json"):
        claim_folder(tmp_path / "b", {"n": 4})
