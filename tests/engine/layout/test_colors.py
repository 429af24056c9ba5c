"""Colors: what users type, what files contain, which region a pixel belongs to."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import LayoutError
from cones2.layout.colors import color_name, nearest_color, parse_color, prominent_colors
from cones2.messages import shown

CHANNEL = st.integers(0, 255)
COLOR = st.tuples(CHANNEL, CHANNEL, CHANNEL)
SPACE = st.sampled_from(["", " ", "  "])


@given(COLOR, SPACE, SPACE)
def test_triples_round_trip(color, before, after):
    red, green, blue = color
    assert parse_color(f"{before}{red},{after}{green}{before},{blue}{after}") == color
    assert parse_color(f"({red},{green},{blue})") == color


@given(COLOR)
def test_names_round_trip(color):
    assert parse_color(color_name(color)) == color
    assert parse_color(color_name(color).upper()) == color


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#f00", (255, 0, 0)),
        ("#FA0", (255, 170, 0)),
        ("#ff000080", (255, 0, 0)),
        ("red", (255, 0, 0)),
        ("RebeccaPurple", (102, 51, 153)),
        (" Lime ", (0, 255, 0)),
    ],
)
def test_hex_and_css(text, color):
    assert parse_color(text) == color


@pytest.mark.parametrize(
    "text",
    [
        *["", "256,0,0", "1,2", "1,2,3,4", "#12", "#gggggg", "no such color", "255", "1.5,2,3"],
        *["rgb(300,0,0)", "rgb(99999999999999999999,0,0)", "hsl(0,900%,50%)", "hsv(0,100%,900%)"],
    ],
)
def test_other_texts_are_named_in_the_error(text):
    with pytest.raises(LayoutError, match="is not a color: write") as caught:
        parse_color(text)
    assert f'"{text}"' in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_color_or_one_clear_error(text):
    try:
        assert all(0 <= channel <= 255 for channel in parse_color(text))
    except LayoutError as error:
        assert shown(text) in str(error)


def published_parse(text: str) -> tuple[int, ...]:
    """The published table reader: comma-separated integers only."""
    return tuple(int(part) for part in text.split(","))


def test_hex_colors_crash_the_published_reader_only():
    with pytest.raises(ValueError, match="invalid literal"):
        published_parse("#ff0000")
    assert parse_color("#ff0000") == (255, 0, 0)


@given(st.lists(COLOR, min_size=1, max_size=5, unique=True), st.lists(COLOR, min_size=1, max_size=30))
def test_nearest_color_equals_a_loop(table, pixels):
    image = np.array([pixels], dtype=np.uint8)
    labels = nearest_color(image, table, tolerance=96)
    background = [gray for gray in ((255, 255, 255), (0, 0, 0)) if gray not in table]
    for label, pixel in zip(labels[0].tolist(), pixels, strict=True):
        distances = [sum((a - b) ** 2 for a, b in zip(pixel, color, strict=True)) for color in table + background]
        nearest = distances.index(min(distances))
        assert label == (nearest if nearest < len(table) and min(distances) <= 96**2 else -1)


@given(st.lists(COLOR, min_size=1, max_size=5, unique=True))
def test_zero_tolerance_is_equality(table):
    pixels = np.array([[*table, (table[0][0] ^ 1, *table[0][1:])]], dtype=np.uint8)
    labels = nearest_color(pixels, table, tolerance=0)[0].tolist()
    assert labels[: len(table)] == list(range(len(table)))
    changed = tuple(pixels[0, -1].tolist())
    assert labels[-1] == (table.index(changed) if changed in table else -1)


def test_black_and_white_can_be_subjects_too():
    pixels = np.array([[(255, 255, 255), (0, 0, 0), (255, 0, 0)]], dtype=np.uint8)
    assert nearest_color(pixels, [(255, 0, 0), (0, 0, 0)], 96).tolist() == [[-1, 1, 0]]
    assert nearest_color(pixels, [(255, 255, 255)], 96).tolist() == [[0, -1, -1]]


def test_prominent_colors_are_largest_first_without_grays():
    pixels = np.zeros((10, 10, 3), dtype=np.uint8)
    pixels[:5] = (0, 0, 255)
    pixels[5:7] = (250, 10, 10)
    pixels[7:9] = (128, 130, 128)
    found = prominent_colors(pixels, np.ones((10, 10), dtype=bool))
    assert found == [((0, 0, 255), 0.5), ((250, 10, 10), 0.2)]
    assert prominent_colors(pixels, np.zeros((10, 10), dtype=bool)) == []


def test_a_noisy_picture_is_measured_in_bounded_memory() -> None:
    """Every pixel its own color: the distances to all colors at once would take 240 bytes a pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    tracemalloc.start()
    nearest_color(pixels, [(40 * index, 255 - 30 * index, 7 * index) for index in range(6)], 442)
    prominent_colors(pixels, np.ones((512, 512), dtype=np.bool_))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 * pixels.shape[0] * pixels.shape[1]
