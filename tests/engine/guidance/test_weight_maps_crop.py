"""Weight maps of a part of the canvas, as area conditionings need them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, weight_maps
from cones2.layout.regions import Layout, Region

ROWS = [((2,),), ((5,),)]


def halves(height: int = 40, width: int = 80) -> Layout:
    """A dog in the left half, a mug in the right half."""
    left = torch.zeros(height, width, dtype=torch.bool)
    left[:, : width // 2] = True
    return Layout((Region("dog", left), Region("mug", ~left)), height, width)


def test_the_whole_canvas_is_no_crop() -> None:
    maps = weight_maps(halves(), ROWS)
    assert torch.equal(maps.crop(0, 0, 1, 1).at(8, 16), maps.at(8, 16))


def test_a_part_is_what_a_layout_of_that_part_gives() -> None:
    layout = halves()
    part = Layout(tuple(Region(r.subject, r.mask[10:30, 20:80]) for r in layout.regions), 20, 60)
    cropped = weight_maps(layout, ROWS).crop(0.25, 0.25, 0.5, 0.75)
    assert torch.equal(cropped.at(6, 12), weight_maps(part, ROWS).at(6, 12))


def test_a_region_that_lies_elsewhere_stays_excluded() -> None:
    dog, mug = weight_maps(halves(), ROWS).crop(0, 0.5, 1, 0.5).at(8, 8).T
    assert torch.allclose(dog, torch.full((64,), DEFAULT_OUTSIDE_WEIGHT)) and (mug == 2.5).all()


def test_a_copy_shares_no_resized_map() -> None:
    maps = weight_maps(halves(), ROWS)
    copied = maps.copy()
    assert torch.equal(copied.at(4, 4), maps.at(4, 4)) and copied.at(4, 4) is not maps.at(4, 4)


@given(*[st.floats(0, 1)] * 4)
def test_any_part_has_at_least_a_cell(top: float, left: float, height: float, width: float) -> None:
    found = weight_maps(halves(), ROWS).crop(top, left, height * (1 - top), width * (1 - left)).at(3, 5)
    assert found.shape == (15, 2) and found.isfinite().all()
