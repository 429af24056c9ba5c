"""How different poses are."""

from __future__ import annotations

import pytest
import torch

from cones2.evaluation.scores import Seen, Verdict, scores
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


def test_only_pictures_of_one_subject_are_compared() -> None:
    one, other = silhouette(outline(0, 0)), silhouette(outline(0, 0).flip(1))
    assert variety([[one, one], [other]]) == variety([]) == variety([[one]]) == 0
    assert variety([[one, one, other], [other]]) == pytest.approx(2 / 3 * 0.5)


def test_scores_group_silhouettes_by_subject_and_leave_out_what_is_not_there() -> None:
    one, other = silhouette(outline(0, 0)), silhouette(outline(0, 0).flip(1))
    seen = [Seen("dog", "a", True, silhouette=one), Seen("dog", "a", True, silhouette=other), Seen("dog", "a")]
    assert scores([Verdict((s,)) for s in seen]).variety == pytest.approx(0.5)
    assert scores([Verdict((seen[0],)), Verdict((Seen("dog", "b", True, silhouette=other),))]).variety == 0
