"""Weight maps of what a window over one axis of the latents shows."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, WeightMaps, weight_maps
from cones2.guidance.windows import select_cells
from cones2.layout.regions import Layout, Region

SPANS = [((2,),), ((5,),)]


def quarters(height: int = 40, width: int = 80) -> Layout:
    """A dog in the upper left quarter, a mug in the lower right one."""
    dog, mug = torch.zeros(2, height, width, dtype=torch.bool)
    dog[: height // 2, : width // 2] = True
    mug[height // 2 :, width // 2 :] = True
    return Layout((Region("dog", dog), Region("mug", mug)), height, width)


def maps() -> WeightMaps:
    return weight_maps(quarters(), SPANS)


def test_all_rows_are_the_whole_picture() -> None:
    assert torch.equal(select_cells(maps(), 0, range(10), 10).at(8, 16), maps().at(8, 16))


@pytest.mark.parametrize(("axis", "crop"), [(0, (0.2, 0, 0.5, 1)), (1, (0, 0.2, 1, 0.5))])
def test_adjacent_indices_are_a_crop(axis: int, crop: tuple[float, float, float, float]) -> None:
    assert torch.equal(select_cells(maps(), axis, range(2, 7), 10).at(8, 8), maps().crop(*crop).at(8, 8))


def test_indices_come_in_their_order() -> None:
    forwards, backwards = (select_cells(maps(), 1, order, 2).at(1, 8) for order in ([0, 1], [1, 0]))
    assert torch.allclose(forwards.roll(4, 0), backwards)


def test_a_region_that_lies_elsewhere_stays_excluded() -> None:
    dog, mug = select_cells(maps(), 1, [6, 7, 8, 9], 10).at(4, 4).T
    assert torch.allclose(dog, torch.full((16,), DEFAULT_OUTSIDE_WEIGHT)) and (mug == 2.5).any()


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_every_index_has_a_cell_of_any_layout(size: int, total: int, data: st.DataObject) -> None:
    layout = quarters(height=max(size, 2), width=2)
    indices = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=total))
    image = weight_maps(layout, SPANS).images[0]
    selected = select_cells(WeightMaps((replace(image, regions=()),)), 0, indices, total).images[0].image
    assert selected.shape[0] >= len(indices) and selected.shape[1] == 2
