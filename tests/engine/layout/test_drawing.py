"""Pictures: layouts with names, heat maps, grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cones2.layout.drawing import PALETTE, grid, heat_overlay, heat_picture, labeled, layout_picture
from cones2.layout.regions import Box, Layout, Region, layout_from_boxes

RED = (255, 0, 0)


def layout(*colors) -> Layout:
    boxes = [Box(0, 0, 0.5, 1), Box(0.4, 0, 0.6, 1)]
    plain = layout_from_boxes(boxes, ["dog", "cat"], 64, 128, unit="fractions")
    regions = tuple(Region(r.subject, r.mask, color=c) for r, c in zip(plain.regions, colors, strict=True))
    return Layout(regions, 64, 128)


def test_layout_picture_shows_colors_and_mixes_overlaps():
    pixels = np.asarray(layout_picture(layout(RED, (0, 0, 255)), 128, 256))
    assert pixels.shape == (128, 256, 3)
    assert pixels[2, 2].tolist() == [255, 0, 0]
    assert pixels[2, 250].tolist() == [0, 0, 255]
    assert pixels[2, 115].tolist() == [128, 0, 128]


def test_regions_without_a_color_get_distinct_ones():
    pixels = np.asarray(layout_picture(layout(None, None), 64, 128))
    assert tuple(pixels[1, 1]) == PALETTE[0]
    assert tuple(pixels[1, 126]) == PALETTE[1]


def test_layout_picture_carries_names():
    named, unnamed = (
        np.asarray(layout_picture(Layout((Region(name, mask, color=RED),), 64, 64), 256, 256))
        for mask in [torch.ones(64, 64, dtype=torch.bool)]
        for name in ("dog", " ")
    )
    assert (unnamed == RED).all()
    assert (named[100:156, 60:196] != RED).any(-1).sum() > 50


def test_heat_picture_is_dark_to_light():
    heat = torch.tensor([[0.0, 0.5], [0.5, 1.0]])
    picture = heat_picture(heat, 64, 96)
    assert picture.size == (96, 64)
    light = np.asarray(picture.convert("L"), dtype=int)
    assert light[2, 2] < light[2, 93] < light[61, 93]
    dimmer = np.asarray(heat_picture(heat, 64, 96, top=4.0).convert("L"), dtype=int)
    assert dimmer[61, 93] < light[61, 93]
    assert heat_picture(torch.zeros(2, 2), 8, 8).getextrema()[0][0] < 20


def test_caption_stands_above_the_picture():
    picture = labeled(Image.new("RGB", (200, 100), RED), "a dog")
    assert picture.width == 200 and picture.height > 110
    strip = np.asarray(picture)[: picture.height - 100]
    assert (strip < 100).all(-1).any()
    assert (np.asarray(picture)[-100:] == RED).all()


@pytest.mark.parametrize(("count", "columns", "size"), [(1, None, (10, 6)), (3, None, (46, 6)), (5, 2, (28, 34))])
def test_grid_places_pictures_row_by_row(count, columns, size):
    pictures = [Image.new("RGB", (10, 6), (index + 1, 0, 0)) for index in range(count)]
    out = grid(pictures, columns)
    assert out.size == size
    per_row = columns or count
    for index in range(count):
        assert out.getpixel((index % per_row * 18 + 5, index // per_row * 14 + 3)) == (index + 1, 0, 0)


def test_an_overlay_is_a_regions_color_where_its_map_is_hot_and_the_picture_where_it_is_cold():
    heats = torch.zeros(2, 4, 8)
    heats[0, :, 0], heats[1, :, 7] = 0.001, 5.0
    pixels = np.asarray(heat_overlay(Image.new("RGB", (256, 128)), heats, layout(RED, (0, 0, 255)).regions))
    assert pixels[2, 2, 0] > 150 and pixels[2, 2, 2] < 10
    assert pixels[2, 253, 2] > 150 and pixels[2, 253, 0] < 10
    assert pixels[2, 128].max() < 10


def test_an_overlay_of_nothing_is_the_picture():
    picture = Image.new("RGB", (64, 32), (10, 20, 30))
    found = np.asarray(heat_overlay(picture, torch.zeros(2, 4, 8), layout(RED, RED).regions))
    assert found[-1, -1].tolist() == [10, 20, 30]
