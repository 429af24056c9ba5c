"""Where subjects' pictures count under a layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cones2.layout.regions import Layout, Region
from cones2.picture_adapter.attention import even_weights
from cones2.picture_adapter.shares import RegionShares, region_shares
from cones2.prompt.claims import parse_phrase


def layout_of(**boxes: tuple[int, int, int, int]) -> Layout:
    """Boxes (top, bottom, left, right) on 16 × 24 cells."""
    regions = []
    for name, (top, bottom, left, right) in boxes.items():
        mask = torch.zeros(16, 24, dtype=torch.bool)
        mask[top:bottom, left:right] = True
        regions.append(Region(name.replace("_", " "), mask))
    return Layout(tuple(regions), 16, 24)


HALVES = layout_of(cat=(0, 16, 0, 12), dog=(0, 16, 12, 24))
SUBJECTS = [parse_phrase("cat"), parse_phrase("dog")]


def shares_of(layout: Layout, names: list[str], **settings: float) -> RegionShares:
    shares = region_shares(layout, [parse_phrase(name) for name in names], **settings)
    assert shares is not None
    return shares


def test_hard_regions_keep_subjects_apart() -> None:
    cat, dog = shares_of(HALVES, ["cat", "dog"]).at(8, 12).view(2, 8, 12)
    assert bool((cat[:, :6] == 1).all()) and bool((cat[:, 6:] == 0).all())
    torch.testing.assert_close(dog, 1 - cat)


def test_a_subject_counts_elsewhere_by_the_share_outside() -> None:
    cat = shares_of(HALVES, ["cat", "dog"], outside=0.25).at(8, 12)[0].view(8, 12)
    assert cat[0].tolist() == [1] * 6 + [0.25] * 6


def test_outside_one_is_the_published_behavior() -> None:
    assert bool((shares_of(HALVES, ["cat", "dog"], edge=0.1, outside=1.0).at(8, 12) == 1).all())


def test_a_soft_edge_falls_from_one_to_nothing() -> None:
    row = shares_of(HALVES, ["cat", "dog"], edge=0.3).at(16, 24)[0].view(16, 24)[8]
    assert row[0] == pytest.approx(1, abs=1e-3) and row[-1] == pytest.approx(0, abs=1e-3)
    assert row[11] > 0.5 > row[12] and bool((row.diff() <= 1e-6).all())


def test_a_subject_without_a_region_belongs_where_nobody_else_does() -> None:
    shares = shares_of(layout_of(cat=(0, 16, 0, 12)), ["cat", "dog"])
    cat, dog = shares.at(8, 12)
    torch.testing.assert_close(dog, 1 - cat)


def test_a_small_region_keeps_a_cell() -> None:
    shares = shares_of(layout_of(cat=(3, 4, 5, 6), dog=(8, 16, 0, 24)), ["cat", "dog"])
    assert shares.at(4, 6)[0].sum() == 1


def test_two_subjects_of_one_name_take_its_regions_in_turn() -> None:
    regions = (*layout_of(cat=(0, 16, 0, 12)).regions, *layout_of(cat=(0, 16, 12, 24)).regions)
    first, second = shares_of(Layout(regions, 16, 24), ["cat", "cat"]).at(8, 12)
    torch.testing.assert_close(second, 1 - first)


def test_regions_of_one_subject_are_united() -> None:
    regions = (*HALVES.regions, Region("CAT", HALVES.regions[1].mask))
    assert bool((shares_of(Layout(regions, 16, 24), ["cat", "dog"]).at(8, 12)[0] == 1).all())


def test_a_region_of_negative_weight_keeps_its_subject_out() -> None:
    kept_out = Layout((Region("cat", HALVES.regions[0].mask, -2.0),), 16, 24)
    cat = shares_of(kept_out, ["cat"]).at(8, 12)[0].view(8, 12)
    assert bool((cat[:, :6] == 0).all()) and bool((cat[:, 6:] == 1).all())


def test_a_layout_of_other_subjects_is_none() -> None:
    assert region_shares(HALVES, [parse_phrase("bird")]) is None


@pytest.mark.parametrize("edge", [0.0, 0.1])
def test_a_part_of_the_picture_has_its_part_of_the_shares(edge: float) -> None:
    shares = shares_of(HALVES, ["cat", "dog"], edge=edge, outside=0.1)
    whole = shares.at(16, 24).view(2, 16, 24)
    torch.testing.assert_close(shares.crop(0.5, 0.25, 0.5, 0.5).at(8, 12).view(2, 8, 12), whole[:, 8:, 6:18])


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 0.5), st.floats(0, 1))
def test_weights_never_exceed_one_and_are_finite(height: int, width: int, edge: float, outside: float) -> None:
    shares = shares_of(HALVES, ["cat", "dog"], edge=edge, outside=outside).at(height, width)
    assert bool(((shares >= -1e-6) & (shares <= 1 + 1e-6)).all())
    weights = even_weights(2, shares, height * width, torch.device("cpu"))
    torch.testing.assert_close(weights.sum(1)[0], shares.amax(0), atol=1e-5, rtol=0)
