"""How different poses are."""

from __future__ import annotations

import pytest
import torch

from cones2.evaluation.cases import scene_name
from cones2.evaluation.scores import Seen, Verdict, scores
from cones2.evaluation.toyworld.suites import toy_suite
from cones2.evaluation.variety import silhouette, variety


def outline(*corner: int, side: int = 20, rows: int = 8, columns: int = 8) -> torch.Tensor:
    """An L."""
    filled = torch.zeros(side, side, dtype=torch.bool)
    filled[corner[0] : corner[0] + rows, corner[1] : corner[1] + columns // 2] = True
    filled[corner[0] + rows // 2 : corner[0] + rows, corner[1] : corner[1] + columns] = True
    return filled


def test_neither_place_nor_size_counts() -> None:
    small, large = silhouette(outline(0, 3)), silhouette(outline(2, 2, rows=16, columns=16))
    assert small == large and len(small) == 64
    assert variety([[small, large]]) == 0


def test_a_mirrored_form_is_another_pose() -> None:
    one = outline(0, 0)
    assert variety([[silhouette(one), silhouette(one.flip(1))]]) == pytest.approx(1 - 128 / 256)


def test_only_pairs_within_a_group_count() -> None:
    one, other = silhouette(outline(0, 0)), silhouette(outline(0, 0).flip(1))
    assert variety([[one, one], [other]]) == 0
    assert variety([]) is variety([[one], [other]]) is None
    assert variety([[one, one, other], [other]]) == pytest.approx(2 / 3 * 0.5)


def test_scores_compare_the_seeds_of_one_scene_and_leave_out_what_is_not_there() -> None:
    one, other = silhouette(outline(0, 0)), silhouette(outline(0, 0).flip(1))
    seen = [Seen("dog", "a", True, silhouette=one), Seen("dog", "a", True, silhouette=other), Seen("dog", "a")]
    verdicts = [Verdict((s,)) for s in seen]
    assert scores(verdicts, ["0001"] * 3).variety == pytest.approx(0.5)
    assert scores(verdicts, ["0001", "0002", "0003"]).variety is scores(verdicts).variety is None


def test_a_scene_with_several_seeds_keeps_its_first_and_its_regions() -> None:
    single, several = toy_suite(2, "free", 3, 5).cases, toy_suite(2, "free", 3, 5, seeds=3).cases
    assert [case.name for case in several[:4]] == ["0000", "0000_2", "0000_3", "0001"]
    assert [case.seed for case in several[::3]] == [case.seed for case in single]
    assert len({case.seed for case in several}) == 9
    assert all(case.subjects is several[3 * index].subjects for index in range(3) for case in several[3 * index :][:3])
    assert {scene_name(case.name) for case in several} == {"0000", "0001", "0002"}
