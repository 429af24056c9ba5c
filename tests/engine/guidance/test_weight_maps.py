"""Weight maps for any grid."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.errors import LayoutError
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.grid import coverage
from cones2.layout.regions import Box, Layout, Region, layout_from_boxes

SIDE = st.integers(1, 64)
NEGATIVE = -1e8


def two_boxes(height=96, width=128, **kwargs) -> Layout:
    boxes = [Box(0.05, 0.1, 0.4, 0.6), Box(0.55, 0.3, 0.4, 0.65)]
    return layout_from_boxes(boxes, ["dog", "cat"], height, width, unit="fractions", **kwargs)


def published_map(mask: torch.Tensor, weight: float, positions: int) -> torch.Tensor:
    """The published map for a layer with this many positions: keyed by the count, else a floored square root."""
    image = torch.where(mask, weight, NEGATIVE)[None, None]
    keyed = {math.prod(side // factor for side in mask.shape): factor for factor in (8, 16, 32, 64)}
    if positions in keyed:
        grid = tuple(side // keyed[positions] for side in mask.shape)
    else:
        factor = 1 / math.sqrt(mask.numel() / positions)
        grid = tuple(math.floor(side * factor) for side in mask.shape)
    resized = F.interpolate(image, grid, mode="bilinear", align_corners=True).flatten(1)
    # a map of another size is stretched as one long row
    return resized[0, torch.arange(positions) * math.prod(grid) // positions]


@settings(max_examples=80)
@given(SIDE, SIDE, st.integers(0, 95), st.integers(0, 127), st.integers(1, 40), st.integers(1, 40))
def test_no_region_vanishes_at_any_grid(height, width, y, x, box_height, box_width):
    layout = layout_from_boxes([Box(x, y, box_width, box_height)], ["dog"], 96, 128)
    values = weight_maps(layout, [[(3,)]]).at(height, width)
    assert values.shape == (height * width, 1)
    assert float(values.max()) == pytest.approx(2.5)


@settings(max_examples=80)
@given(SIDE, SIDE, st.integers(0, 2**31), st.floats(0.01, 0.6))
def test_best_cell_has_the_greatest_coverage(height, width, seed, share):
    mask = torch.rand(24, 36, generator=torch.Generator().manual_seed(seed)) < share
    mask[seed % 24, seed % 36] = True
    values = weight_maps(Layout((Region("dog", mask),), 24, 36), [[(1,)]]).at(height, width).view(height, width)
    covered = coverage(mask, height, width)
    best = covered >= covered.max() - 1e-9
    assert (values[best] > 2.49).any()


def test_among_equal_cells_the_one_nearest_the_centroid_wins():
    # one pixel on the left, one just right of the middle: at 1 × 4 both cells are covered equally
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[4, 0] = mask[4, 5] = mask[4, 6] = mask[4, 2] = True
    mask[4, 6] = False
    layout = Layout((Region("dog", mask),), 8, 8)
    values = weight_maps(layout, [[(1,)]]).at(1, 4).flatten()
    centroid = (0.5 + 5.5 + 2.5) / 3 / 8 * 4
    expected = min((0, 1, 2), key=lambda cell: abs(cell + 0.5 - centroid))
    assert values[expected] == 2.5
    assert (values > 0).sum() == 1


@pytest.mark.parametrize("grid", [(96, 96), (48, 48), (24, 24), (12, 12)])
def test_a_region_of_40_by_60_pixels_survives(grid):
    layout = layout_from_boxes([Box(350, 200, 40, 60)], ["dog"], 768, 768)
    assert (weight_maps(layout, [[(1,)]]).at(*grid) > 0).any()


def test_a_region_of_40_by_60_pixels_vanishes_in_the_published_map():
    layout = layout_from_boxes([Box(350, 200, 40, 60)], ["dog"], 768, 768)
    assert not (published_map(layout.regions[0].mask, 2.5, 144) > 0).any()


@pytest.mark.parametrize(("height", "width"), [(72, 128), (96, 96), (56, 56), (48, 80)])
def test_maps_have_the_geometry_of_the_layer(height, width):
    left_half = layout_from_boxes([Box(0, 0, 0.5, 1)], ["dog"], 768, 768, unit="fractions")
    values = weight_maps(left_half, [[(1,)]]).at(height, width).view(height, width)
    assert (values[:, : width // 2 - 1] > 2.49).all()
    assert (values[:, width // 2 + 1 :] < 0.99 * NEGATIVE).all()


@pytest.mark.parametrize(("height", "width"), [(72, 128), (64, 96), (56, 56)])
def test_published_maps_lose_the_geometry(height, width):
    """72 × 128 takes the map of 96 × 96; 64 × 96 and 448-pixel pictures a stretched one."""
    left_half = layout_from_boxes([Box(0, 0, 0.5, 1)], ["dog"], 768, 768, unit="fractions")
    values = published_map(left_half.regions[0].mask, 2.5, height * width).view(height, width)
    right = values[:, width // 2 + 1 :] > 0
    assert 0.2 < float(right.float().mean()) < 0.8


def test_grids_with_equal_counts_differ():
    maps = weight_maps(two_boxes(), [[(2,)], [(5,)]])
    assert not torch.equal(maps.at(72, 128), maps.at(96, 96))
    assert torch.equal(maps.at(72, 128), maps.at(72, 128))


def test_values_inside_and_outside():
    layout = two_boxes(weights=[2.5, 1.25])
    maps = weight_maps(layout, [[(2,)], [(5, 6), (9, 10)]])
    assert maps.token_indices == (2, 5, 6, 9, 10)
    values = maps.at(96, 128)
    for column, (region, weight) in enumerate(
        zip([layout.regions[0]] + [layout.regions[1]] * 4, [2.5] + [1.25] * 4, strict=True)
    ):
        inside = region.mask.flatten()
        assert (values[inside, column] == weight).all()
        assert (values[~inside, column] == NEGATIVE).all()


def test_others_mode_leaves_the_background_alone():
    layout = two_boxes()
    dog, cat = (region.mask.flatten() for region in layout.regions)
    values = weight_maps(layout, [[(2,)], [(5,)]], -3.0, "others").at(96, 128)
    assert (values[cat & ~dog, 0] == -3).all()
    assert (values[~cat & ~dog] == 0).all()
    assert (values[dog, 0] == 2.5).all()


def test_others_mode_with_one_subject_never_excludes():
    layout = layout_from_boxes([Box(0, 0, 10, 10)], ["dog"], 64, 64)
    assert weight_maps(layout, [[(2,)]], outside_mode="others").at(16, 16).min() >= 0


def test_two_regions_of_one_subject_are_united_and_the_larger_weight_wins():
    boxes = [Box(0, 0, 48, 64), Box(32, 0, 64, 64)]
    layout = layout_from_boxes(boxes, ["dog", "dog"], 64, 96, weights=[1.0, 3.0])
    maps = weight_maps(layout, [[(2,)], [(2,)]])
    assert maps.token_indices == (2,)
    values = maps.at(64, 96).view(64, 96)
    assert (values[:, :32] == 1).all()
    assert (values[:, 32:] == 3).all()


def test_different_subjects_may_overlap():
    boxes = [Box(0, 0, 48, 64), Box(32, 0, 64, 64)]
    values = weight_maps(layout_from_boxes(boxes, ["dog", "cat"], 64, 96), [[(2,)], [(5,)]]).at(64, 96).view(64, 96, 2)
    assert (values[:, 32:48] == 2.5).all()


def test_published_overlap_excludes_a_shared_token_everywhere():
    """ "dog," and "dog" share a token: their maps are summed to −2e8 and −1e8."""
    left, right = (region.mask for region in two_boxes().regions)
    summed = torch.where(left, 2.5, NEGATIVE) + torch.where(right, 2.5, NEGATIVE)
    assert summed.max() < -9e7
    with pytest.raises(LayoutError, match='"dog" and "cat" share token 2'):
        weight_maps(two_boxes(), [[(2, 3)], [(2,)]])


@settings(max_examples=25)
@given(st.integers(2, 64), st.integers(2, 64))
def test_mild_maps_are_the_aligned_bilinear_resize_plus_best_cells(height, width):
    layout = two_boxes()
    values = weight_maps(layout, [[(2,)], [(5,)]], outside_weight=-2.0).at(height, width)
    for column, region in enumerate(layout.regions):
        image = torch.where(region.mask, 2.5, -2.0)[None, None]
        plain = F.interpolate(image, (height, width), mode="bilinear", align_corners=True).flatten()
        changed = (values[:, column] != plain).nonzero()
        assert len(changed) <= 1
        assert (values[changed, column] == 2.5).all()


def test_asking_twice_and_changing_the_answer_elsewhere():
    maps = weight_maps(two_boxes(), [[(2,)], [(5,)]])
    first = maps.at(12, 16).clone()
    assert torch.equal(first, weight_maps(two_boxes(), [[(2,)], [(5,)]]).at(12, 16))
    assert torch.equal(first, maps.at(12, 16))
    assert maps.at(12, 16).dtype == torch.float32
