"""How many rows of an edit model's prompt each of its reference pictures has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.host.vision_rows import likeliest_counts

Sizes = dict[int, float]
SIZES = st.dictionaries(st.integers(1, 12), st.integers(0, 8).map(lambda eighths: eighths / 8), min_size=1, max_size=4)


def _tried(sizes: Sequence[Sizes], total: int) -> tuple[int, ...] | None:
    """The likeliest of all splits, the first of equal ones."""
    fitting = [counts for counts in itertools.product(*sizes) if sum(counts) == total]
    away = lambda counts: sum(size[count] for size, count in zip(sizes, counts, strict=True))  # noqa: E731
    return min(fitting, key=away, default=None)


@settings(max_examples=200)
@given(st.lists(SIZES, max_size=5), st.data())
def test_rows_are_split_as_if_every_split_were_tried(sizes: list[Sizes], data: st.DataObject) -> None:
    reached = data.draw(st.tuples(*(st.sampled_from(list(size)) for size in sizes)))
    total = sum(reached) + data.draw(st.integers(-1, 1))
    assert likeliest_counts(sizes, total) == _tried(sizes, total)


def test_a_hundred_pictures_are_split_too() -> None:
    """Trying every split would never end."""
    sizes = [{182: 0.75, 210: 0.25}, *[{182: 0.75, 196: 0.125, 210: 0.5}] * 99]
    assert likeliest_counts(sizes, 210 + 99 * 196) == (210, *[196] * 99)
