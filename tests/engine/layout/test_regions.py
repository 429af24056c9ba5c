"""Layouts from pictures, masks and boxes."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cones2.errors import LayoutError
from cones2.layout.colors import nearest_color
from cones2.layout.grid import coverage
from cones2.layout.painted import ColorEntry, layout_from_colors
from cones2.layout.regions import Box, Layout, Region, layout_from_boxes, layout_from_masks

RED, BLUE, YELLOW, GREEN = (255, 0, 0), (0, 0, 255), (255, 255, 0), (0, 255, 0)
TABLE = [ColorEntry(RED, "dog"), ColorEntry(BLUE, "cat", 1.5)]


def two_rectangles(size=(96, 64)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((8, 16, 39, 55), fill=RED)
    draw.rectangle((56, 8, 87, 47), fill=BLUE)
    return picture


def drawn(*shapes, size=(256, 256), scale=4) -> Image.Image:
    """Antialiased ellipses (box, color)."""
    picture = Image.new("RGB", (size[0] * scale, size[1] * scale), "white")
    for box, color in shapes:
        ImageDraw.Draw(picture).ellipse([side * scale for side in box], fill=color)
    return picture.resize(size, Image.Resampling.LANCZOS)


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def published_masks(picture: Image.Image, colors) -> list[np.ndarray]:
    """The published rule: exact equality, transparency dropped."""
    pixels = np.asarray(picture.convert("RGB"))
    return [(pixels == np.array(color)).all(-1) for color in colors]


def agreement(ours: torch.Tensor, ideal: np.ndarray) -> float:
    """Intersection over union."""
    mask = ours.numpy()
    return float((mask & ideal).sum() / (mask | ideal).sum())


def test_regions_of_a_clean_picture_are_exact():
    layout = layout_from_colors(two_rectangles(), TABLE)
    assert (layout.height, layout.width, layout.subjects) == (64, 96, ["dog", "cat"])
    for region, ideal in zip(layout.regions, published_masks(two_rectangles(), [RED, BLUE]), strict=True):
        assert (region.mask.numpy() == ideal).all()
    assert [(region.weight, region.color) for region in layout.regions] == [(2.5, RED), (1.5, BLUE)]
    assert layout.regions[0].share == pytest.approx(32 * 40 / (64 * 96))


@pytest.mark.parametrize("quality", [75, 90])
def test_jpeg_layouts_keep_their_regions(quality):
    clean = two_rectangles((384, 256)).resize((384, 256))
    picture = as_jpeg(clean, quality)
    layout = layout_from_colors(picture, TABLE)
    for region, ideal, exact in zip(
        layout.regions, published_masks(clean, [RED, BLUE]), published_masks(picture, [RED, BLUE]), strict=True
    ):
        assert agreement(region.mask, ideal) > 0.9
        assert exact.sum() < 0.5 * ideal.sum()  # exact equality loses the region


@pytest.mark.parametrize("quality", [None, 75])
def test_antialiased_circles_keep_their_regions(quality):
    picture = drawn(((20, 30, 120, 130), RED), ((140, 60, 236, 156), BLUE))
    picture = picture if quality is None else as_jpeg(picture, quality)
    layout = layout_from_colors(picture, TABLE)
    yy, xx = np.mgrid[:256, :256] + 0.5
    circles = [(xx - 70) ** 2 + (yy - 80) ** 2 <= 50**2, (xx - 188) ** 2 + (yy - 108) ** 2 <= 48**2]
    for region, ideal in zip(layout.regions, circles, strict=True):
        assert agreement(region.mask, ideal) > 0.95


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_modes_give_the_same_regions(mode):
    layout = layout_from_colors(two_rectangles().convert(mode), TABLE)
    for region, ideal in zip(layout.regions, published_masks(two_rectangles(), [RED, BLUE]), strict=True):
        assert (region.mask.numpy() == ideal).all()


def test_transparent_pixels_belong_to_nobody():
    picture = two_rectangles().convert("RGBA")
    hidden = Image.new("RGBA", (96, 64), (*RED, 0))
    hidden.paste(picture.crop((0, 0, 48, 64)), (0, 0))
    with pytest.raises(LayoutError, match=r'no #0000ff \("cat"\)'):
        layout_from_colors(hidden, TABLE)
    mask = layout_from_colors(hidden, TABLE[:1]).regions[0].mask
    assert not mask[:, 48:].any()
    assert published_masks(hidden, [RED])[0][:, 48:].all()  # the published rule sees red where nothing is


def test_seam_between_two_colors_is_no_third_region():
    # halfway between red and yellow lies orange
    picture = drawn(((30, 40, 226, 216), YELLOW), ((80, 80, 180, 180), RED))
    ImageDraw.Draw(picture).rectangle((4, 4, 27, 27), fill=(255, 128, 0))
    entries = [ColorEntry(RED, "dog"), ColorEntry(YELLOW, "sun"), ColorEntry((255, 128, 0), "fox")]
    fox = layout_from_colors(picture, entries).regions[2].mask
    assert fox[4:28, 4:28].all()
    assert int(fox.sum()) <= 24 * 24 + 2
    assert naive_seam(picture) > 100


def naive_seam(picture: Image.Image) -> int:
    """Pixels that a plain nearest-color rule gives to orange outside its square."""
    labels = nearest_color(np.asarray(picture), [RED, YELLOW, (255, 128, 0)], tolerance=96)
    return int((labels == 2).sum()) - 24 * 24


def test_thin_strokes_in_the_exact_color_stay():
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).rectangle((5, 5, 60, 60), outline=RED)
    assert int(layout_from_colors(picture, TABLE[:1]).regions[0].mask.sum()) == 4 * 55


def test_a_single_pixel_is_a_region():
    picture = Image.new("RGB", (64, 64), "white")
    picture.putpixel((5, 7), RED)
    assert layout_from_colors(picture, TABLE[:1]).regions[0].mask.nonzero().tolist() == [[7, 5]]


def test_nearest_color_wins_within_the_tolerance():
    picture = Image.new("RGB", (30, 10), (250, 20, 10))
    ImageDraw.Draw(picture).rectangle((10, 0, 19, 9), fill=(230, 60, 60))
    ImageDraw.Draw(picture).rectangle((20, 0, 29, 9), fill=(120, 200, 120))
    layout = layout_from_colors(picture, [ColorEntry(RED, "dog"), ColorEntry((200, 80, 80), "brick")])
    assert layout.regions[0].mask.any(0).tolist() == [True] * 10 + [False] * 20
    assert layout.regions[1].mask.any(0).tolist() == [False] * 10 + [True] * 10 + [False] * 10


def test_missing_colors_are_reported_with_what_is_there():
    with pytest.raises(LayoutError) as caught:
        layout_from_colors(two_rectangles(), [*TABLE, ColorEntry(GREEN, "tree")])
    message = str(caught.value)
    assert '#00ff00 ("tree")' in message
    assert '("dog")' not in message
    assert "#ff0000 (21%)" in message and "#0000ff (21%)" in message


def test_unclaimed_colors_are_logged_by_name(caplog):
    with caplog.at_level(logging.WARNING, logger="cones2"):
        layout_from_colors(two_rectangles(), TABLE[:1])
    assert "#0000ff (21%)" in caplog.text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "the color table is empty"),
        ([ColorEntry(RED, "dog"), ColorEntry(RED, "cat")], '#ff0000 stands for both "dog" and "cat"'),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(LayoutError, match=message):
        layout_from_colors(two_rectangles(), table)


def published_region(weight: float) -> torch.Tensor:
    """The published map of one region: the weight is the mask, so 0 means outside."""
    mask = torch.tensor([[1.0, 0.0]]) * weight
    return torch.where(mask != 0, mask, torch.tensor(-1e8))


def test_weight_zero_stays_zero():
    from cones2.guidance.weight_maps import weight_maps

    region = Region("dog", torch.tensor([[True, False]]), weight=0.0)
    values = weight_maps(Layout((region,), 1, 2), [[(1,)]]).at(1, 2)
    assert values.flatten().tolist() == [0.0, -1e8]
    assert published_region(0.0).flatten().tolist() == [-1e8, -1e8]


def test_large_pictures_are_reduced():
    layout = layout_from_colors(Image.new("RGB", (4096, 1024), RED), TABLE[:1])
    assert (layout.height, layout.width) == (512, 2048)


def test_stretching_is_warned_about(caplog):
    layout = layout_from_colors(two_rectangles(), TABLE)
    with caplog.at_level(logging.WARNING, logger="cones2"):
        layout.warn_if_stretched(512, 768)
        assert not caplog.text
        layout.warn_if_stretched(768, 768)
    assert "the layout is 96 × 64 but the picture is 768 × 768" in caplog.text


def test_masks_of_any_dtype_and_size():
    soft = torch.tensor([[0.0, 0.49], [0.5, 1.0]])
    layout = layout_from_masks([soft, torch.ones(4, 4, dtype=torch.int64)], ["dog", "cat"], weights=[1.0, 2.0])
    assert (layout.height, layout.width) == (4, 4)
    assert layout.regions[0].mask.int().tolist() == [[0] * 4] * 2 + [[1] * 4] * 2
    assert layout.regions[1].mask.all()


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 39), st.integers(0, 39), st.integers(1, 30))
def test_a_mask_never_vanishes_when_sizes_differ(height, width, y, x, other):
    mask = torch.zeros(height, width)
    mask[y % height, x % width] = 1
    layout = layout_from_masks([mask, torch.ones(other, other)], ["dog", "cat"])
    assert all(region.mask.any() for region in layout.regions)


@pytest.mark.parametrize(
    ("masks", "subjects", "message"),
    [
        ([], [], "the layout is empty"),
        ([torch.ones(2, 2)], ["dog", "cat"], "1 masks, 2 subjects"),
        ([torch.ones(2, 2, 2)], ["dog"], r'the mask of "dog" has shape \(2, 2, 2\)'),
        ([torch.ones(0, 2)], ["dog"], r"shape \(0, 2\)"),
        ([torch.full((2, 2), 0.4)], ["dog"], 'the mask of "dog" is empty: no value reaches 0.5 .largest 0.4'),
        ([torch.zeros(0, 0)], ["dog"], r"shape \(0, 0\)"),
        ([torch.ones(2, 2).to_sparse()], ["dog"], 'the mask of "dog" is sparse'),
        ([torch.ones(2, 2)] * 33, ["dog"] * 33, "33 regions: 32 is the limit"),
        ([torch.full((2, 2), float("nan"))], ["dog"], "not numbers"),
        ([torch.full((2, 2), float("inf"))], ["dog"], "not numbers"),
    ],
)
def test_bad_masks(masks, subjects, message):
    with pytest.raises(LayoutError, match=message):
        layout_from_masks(masks, subjects)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e39])
def test_weights_must_be_numbers_of_the_allowed_range(weight):
    with pytest.raises(LayoutError, match='the weight of "dog" is'):
        layout_from_masks([torch.ones(2, 2)], ["dog"], weights=[weight])


def test_the_phrase_of_a_region_is_bounded():
    with pytest.raises(LayoutError, match="longer than 200 characters"):
        layout_from_masks([torch.ones(2, 2)], ["W" * 40_000])


def test_overlapping_boxes_keep_both_regions():
    layout = layout_from_boxes([Box(0, 0, 60, 40), Box(30, 20, 60, 40)], ["dog", "cat"], 64, 96)
    dog, cat = (region.mask for region in layout.regions)
    assert int(dog.sum()) == int(cat.sum()) == 2400
    assert int((dog & cat).sum()) == 30 * 20


def test_fractions_equal_pixels():
    pixels = layout_from_boxes([Box(24, 16, 48, 32)], ["dog"], 64, 96)
    fractions = layout_from_boxes([Box(0.25, 0.25, 0.5, 0.5)], ["dog"], 64, 96, unit="fractions")
    assert (pixels.regions[0].mask == fractions.regions[0].mask).all()


@given(st.floats(-50, 149), st.floats(-50, 99), st.floats(0.001, 300), st.floats(0.001, 300))
def test_a_box_on_the_canvas_is_never_empty(x, y, width, height):
    if x + width <= 0 or y + height <= 0 or x >= 150 or y >= 100:
        return
    mask = layout_from_boxes([Box(x, y, width, height)], ["dog"], 100, 150).regions[0].mask
    assert mask.any()
    assert abs(int(mask.any(0).sum()) - (min(x + width, 150) - max(x, 0))) <= 1.01
    assert abs(int(mask.any(1).sum()) - (min(y + height, 100) - max(y, 0))) <= 1.01


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(0, 0, 0, 5), "0 × 5: it has no area"),
        (Box(0, 0, float("nan"), 5), "must be finite"),
        (
            Box(96, 0, 5, 5),
            r'the box of "dog" at \(96, 0\), 5 × 5 pixels, lies outside the 96 × 64 canvas: give the size',
        ),
        (Box(-5, 0, 5, 5), "lies outside"),
    ],
)
def test_bad_boxes(box, message):
    with pytest.raises(LayoutError, match=message):
        layout_from_boxes([box], ["dog"], 64, 96)


def test_counts_of_boxes_and_canvas():
    with pytest.raises(LayoutError, match="1 box but 2 subjects"):
        layout_from_boxes([Box(0, 0, 1, 1)], ["dog", "cat"], 64, 96)
    with pytest.raises(LayoutError, match="both sides must be at least 1"):
        layout_from_boxes([Box(0, 0, 1, 1)], ["dog"], 0, 96)


def test_huge_canvas_is_no_huge_mask():
    layout = layout_from_boxes([Box(0, 0, 50_000, 100_000)], ["dog"], 100_000, 100_000)
    assert (layout.height, layout.width) == (2048, 2048)
    assert layout.regions[0].share == pytest.approx(0.5)


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_coverage_is_the_exact_area(height, width, rows, columns, seed):
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.4
    fine = mask.repeat_interleave(rows, 0).repeat_interleave(columns, 1).double()
    blocks = fine.view(rows, height, columns, width).mean((1, 3))
    assert torch.allclose(coverage(mask, rows, columns).double(), blocks, atol=1e-9)


def test_layout_refuses_masks_of_another_size():
    with pytest.raises(LayoutError, match='the mask of "dog"'):
        Layout((Region("dog", torch.ones(2, 3, dtype=torch.bool)),), 3, 2)


def test_huge_masks_are_reduced_and_keep_a_thin_line():
    masks = [torch.zeros(3000, 6000, dtype=torch.uint8) for _ in range(2)]
    masks[0][:, :3000] = 1
    masks[1][1501] = 1  # one row, which the samples at every third cell miss
    layout = layout_from_masks(masks, ["dog", "line"])
    assert (layout.height, layout.width) == (1024, 2048)
    assert layout.regions[0].share == pytest.approx(0.5)
    assert int(layout.regions[1].mask.any(1).sum()) == 1


def test_missing_colors_are_reported_before_the_regions_are_cleaned(monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError("cleaned a region of a picture that is refused")

    monkeypatch.setattr("cones2.layout.painted.without_fringe", never)
    with pytest.raises(LayoutError, match="has no #00ff00"):
        layout_from_colors(two_rectangles(), [*TABLE, ColorEntry(GREEN, "tree")])
