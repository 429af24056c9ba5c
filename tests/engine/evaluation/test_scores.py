"""Shares and intervals against values computed by hand."""

from __future__ import annotations

import pytest

from cones2.evaluation.scores import Seen, Share, Verdict, difference, leakage, scores, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (5, 10, 0.236590, 0.763410),  # ½ ± 1.96 · √(.025 + 3.8416/400) / 1.38416
        (89, 96, 0.857068, 0.964233),
        (0, 24, 0.0, 0.137981),  # z² / (n + z²)
        (24, 24, 0.862019, 1.0),
    ],
)
def test_wilson_gives_the_known_intervals(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=2e-6)


def test_wilson_with_another_z() -> None:
    assert wilson(5, 10, z=2) == pytest.approx((0.5 - 0.0350**0.5 / 0.7, 0.5 + 0.0350**0.5 / 0.7))


def test_nothing_counted_leaves_everything_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert (Share(0, 0).value, str(Share(0, 0))) == (0.0, "–")


def test_a_share_shows_its_interval() -> None:
    assert str(Share(5, 10)) == "0.50 [0.24, 0.76]"


PICTURES = (
    Verdict(
        (
            Seen("mug", "a", there=True, in_place=True, overlap=0.5, own=True, exact=True),
            Seen("dog", "b", there=True, in_place=True, overlap=0.25, own=True),
        ),
        background=True,
    ),
    Verdict(
        (
            Seen("mug", "a", there=True, in_place=False, overlap=0.0, own=True, exact=True),
            Seen("dog", "b", there=True, in_place=True, overlap=0.25, foreign=True, leaked=("a",)),
        ),
        unnamed=("fish", "tree"),
        background=False,
    ),
    Verdict((Seen("mug", "a"), Seen("dog", "b", there=True)), unnamed=("fish",)),
)


def test_the_figures_of_three_pictures_counted_by_hand() -> None:
    figures = scores(PICTURES)
    assert figures.pictures == 3
    assert (figures.there, figures.all_there) == (Share(5, 6), Share(2, 3))
    assert (figures.in_place, figures.all_in_place) == (Share(3, 6), Share(1, 3))
    assert (figures.own, figures.exact) == (Share(3, 6), Share(2, 6))
    assert (figures.right, figures.all_right) == (Share(2, 6), Share(1, 3))
    assert (figures.leaked, figures.foreign) == (Share(1, 6), Share(1, 6))
    assert figures.background == Share(1, 2)  # the third picture's was not looked at
    assert figures.overlap == pytest.approx(1.0 / 6)
    assert figures.unnamed == 1.0


def test_leakage_counts_each_ordered_pair_where_both_are_named() -> None:
    assert leakage(PICTURES) == {("a", "b"): Share(0, 3), ("b", "a"): Share(1, 3)}


def test_differences_are_of_the_same_pictures() -> None:
    gain = difference([0, 0, 1, 1], [1, 0, 1, 1])
    assert gain.mean == 0.25 and gain.low == 0 and not gain.is_clear  # one of four: half of the draws miss it
    assert difference([0.5] * 9, [0.75] * 9) == (0.25, 0.25, 0.25)
    assert difference([0.5] * 9, [0.25] * 9).is_clear
    assert str(difference([0], [1])) == "+1.00 [+1.00, +1.00]"
    spread = difference([0] * 100, [1] * 50 + [0] * 50)
    assert (spread.low, spread.high) == pytest.approx((0.40, 0.60), abs=0.02)  # ½ ± 1.96 · √(¼ / 100)


def test_no_pictures_have_no_figures() -> None:
    figures = scores([])
    assert (figures.pictures, figures.in_place, figures.overlap, figures.unnamed) == (0, Share(0, 0), 0.0, 0.0)
    assert leakage([]) == {}
