"""Arms against each other: on the same cases, and by what they cost."""

from __future__ import annotations

from cones2.evaluation.comparison import cheapest, differences
from cones2.evaluation.results import Key, Result
from cones2.evaluation.scores import Seen, Verdict


def results(arm: str, forwards: int, *right: bool) -> list[Result]:
    return [
        Result(
            Key("s", arm, f"{index}"),
            0,
            "",
            forwards,
            Verdict((Seen("mug", "a", there=True, in_place=True, own=one),)),
            "",
            "",
        )
        for index, one in enumerate(right)
    ]


NO, YES = False, True


def test_only_cases_of_both_arms_are_compared() -> None:
    gains = differences(results("a", 24, NO, NO), results("b", 24, YES, YES, NO, NO, NO))
    assert gains["all right and in place"].mean == 1.0
    assert gains["all in place"].mean == 0.0
    assert differences([], results("b", 24, YES)) == {}


def test_the_cheapest_arm_close_to_the_best_is_named() -> None:
    best = ("best", results("best", 48, *[YES] * 98, *[NO] * 2))
    close = ("close", results("close", 24, *[YES] * 96, *[NO] * 4))
    worse = ("worse", results("worse", 12, *[YES] * 95, *[NO] * 5))
    assert cheapest([best, close, worse], "all right and in place") == ("best", "close")
    assert cheapest([best, worse], "all right and in place") == ("best", "best")
    assert cheapest([("none", [])], "own look") is None
    assert cheapest([best, close], "all in place") == ("best", "close")


def test_of_arms_that_cost_as_little_the_best_is_named() -> None:
    best = ("best", results("best", 48, *[YES] * 100))
    close = ("close", results("close", 24, *[YES] * 98, *[NO] * 2))
    closer = ("closer", results("closer", 24, *[YES] * 99, *[NO]))
    assert cheapest([best, close, closer], "all right and in place") == ("best", "closer")
