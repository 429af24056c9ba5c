"""The quality gate passes with this engine, and does not with a broken one."""

from __future__ import annotations

import dataclasses

import pytest

from cones2.evaluation.gate import ARMS, BOTH, BOUNDS, LAYOUT, NOTHING, problems
from cones2.evaluation.scores import Scores, Seen, Verdict, scores


def figures(**seen: bool) -> Scores:
    one = Seen("mug", "a", **{"there": True, **seen})
    return scores([Verdict((one, one), background=True)] * 20)


GOOD = {NOTHING: figures(), LAYOUT: figures(in_place=True), BOTH: figures(in_place=True, own=True)}


def test_every_bound_is_of_an_arm_that_is_drawn() -> None:
    assert {bound.arm for bound in BOUNDS} == {arm.name for arm in ARMS}


def test_good_figures_pass() -> None:
    assert problems(GOOD) == []


def test_a_layout_without_effect_is_a_sentence_with_the_figure() -> None:
    first, second = problems({**GOOD, LAYOUT: figures()})
    assert first == f"{LAYOUT}: the share of objects in place is 0.00 (n = 20), at least 0.8 is needed"
    assert "all in place" in second


def test_too_much_of_something_is_said_as_such() -> None:
    crowded = dataclasses.replace(GOOD[LAYOUT], unnamed=1.5)
    assert problems({**GOOD, LAYOUT: crowded}) == [
        f"{LAYOUT}: the number of unnamed objects per picture is 1.50 (n = 20), at most 1 is needed"
    ]


@pytest.mark.quality
def test_the_gate_is_passed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    from cones2.cli.gate import run_gate

    status = run_gate(processes=1)
    assert status == 0, capsys.readouterr().out
