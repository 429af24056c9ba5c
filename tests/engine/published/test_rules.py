"""The published rules, and where the engine decides otherwise."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cones2.errors import LayoutError, PromptError
from cones2.guidance.weight_maps import WeightMaps, weight_maps
from cones2.layout.painted import ColorEntry, layout_from_colors
from cones2.layout.regions import Layout
from cones2.prompt.claims import locate_subjects, parse_phrase
from cones2.published.rules import Cones2Rules, match_positions, summed_maps
from tests.support.small_tokenizer import stream, tokenize

RED, BLUE = (255, 0, 0), (0, 0, 255)
START = -1


def ids(text: str) -> list[int]:
    return [piece.id for piece in tokenize(text)]


def prompt_ids(text: str) -> list[int]:
    return [START, *ids(text), START]


def rows(prompt: str, *phrases: str) -> list[list[int]]:
    claims = locate_subjects(stream(prompt), [parse_phrase(phrase) for phrase in phrases], tokenize)
    return [list(claim.token_indices) for claim in claims]


def published_layout(image: Image.Image, table: list[ColorEntry]) -> Layout:
    return Cones2Rules().read_layout(image, table, tolerance=0)


def published_maps(image: Image.Image, table: list[ColorEntry], prompt: list[int], outside_weight=-1e8) -> WeightMaps:
    phrases = [ids(entry.subject) for entry in table]
    return summed_maps(published_layout(image, table), phrases, prompt, outside_weight)


def entry(phrase: str, color=RED, weight=2.5) -> ColorEntry:
    return ColorEntry(color, phrase, weight)


def picture(mode="RGB") -> Image.Image:
    drawn = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(drawn).rectangle((0, 0, 23, 63), fill=RED)
    ImageDraw.Draw(drawn).rectangle((40, 0, 63, 63), fill=BLUE)
    return drawn.convert(mode)


@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=3))
def test_published_match_is_every_run(prompt, phrase):
    expected = [at for at in range(len(prompt)) if phrase and tuple(prompt[at : at + len(phrase)]) == tuple(phrase)]
    assert match_positions(prompt, phrase) == expected


def test_a_hot_dog_is_not_a_dog():
    prompt = "a hot dog and a dog"
    assert match_positions(prompt_ids(prompt), ids("dog")) == [3, 6]
    assert rows(prompt, "hot dog", "dog") == [[2, 3], [6]]


def test_dog_with_a_comma_and_dog_claim_their_own():
    """One published config declares "dog," and "dog": the first dog's weights sum to at least −1e8 everywhere."""
    prompt = "a dog, a pet cat and a dog"
    subjects = [entry("dog,"), entry("dog", BLUE)]
    shared = published_maps(picture(), subjects, prompt_ids(prompt)).at(8, 8)
    assert shared[:, 0].max() < -9e7
    first, second = rows(prompt, "dog,", "dog")
    assert (first, second) == ([2], [9])
    layout = layout_from_colors(picture(), [ColorEntry(RED, "dog,"), ColorEntry(BLUE, "dog")])
    ours = weight_maps(layout, [[tuple(first)], [tuple(second)]]).at(8, 8)
    assert (ours.amax(0) == 2.5).all()


def test_a_word_that_is_not_there_is_an_error():
    """The published code prints, and samples without the subject."""
    assert published_maps(picture(), [entry("mug")], prompt_ids("a dog")).token_indices == ()
    with pytest.raises(PromptError, match='"mug" is not in the prompt; its words are: a, dog'):
        rows("a dog", "mug")


def test_a_color_that_is_not_there_is_an_error():
    """Published, its subject is excluded everywhere."""
    maps = published_maps(picture(), [entry("dog", (0, 255, 0))], prompt_ids("a dog"))
    assert maps.at(8, 8).unique().tolist() == [-1e8]
    with pytest.raises(LayoutError, match=r'#00ff00 \("dog"\)'):
        layout_from_colors(picture(), [ColorEntry((0, 255, 0), "dog")])


def test_weight_zero_does_not_exclude():
    maps = published_maps(picture(), [entry("dog", weight=0.0)], prompt_ids("a dog"))
    assert maps.at(64, 64).unique().tolist() == [-1e8]
    layout = layout_from_colors(picture(), [ColorEntry(RED, "dog", 0.0), ColorEntry(BLUE, "cat")])
    assert (weight_maps(layout, [[(2,)], [(5,)]]).at(64, 64)[layout.regions[0].mask.flatten(), 0] == 0).all()


def test_almost_red_is_red():
    almost = Image.fromarray(np.where(np.asarray(picture()) == RED, (254, 1, 1), np.asarray(picture())).astype("uint8"))
    table = [ColorEntry(RED, "dog"), ColorEntry(BLUE, "cat")]
    assert not published_layout(almost, table).regions[0].mask.any()
    assert layout_from_colors(almost, table).regions[0].mask.equal(published_layout(picture(), table).regions[0].mask)


def test_resizing_before_reading_colors_loses_pixels():
    """Published: resize to 768 × 768 with the default filter, then convert to RGB, then compare exactly."""
    small = Image.new("RGB", (512, 512), "white")
    ImageDraw.Draw(small).rectangle((100, 100, 299, 299), fill=RED)
    ideal = 200 * 200 * 1.5**2
    table = [ColorEntry(RED, "dog")]
    resized = published_layout(small.resize((768, 768)), table).regions[0]
    assert float(resized.mask.sum()) < ideal - 1000
    ours = layout_from_colors(small, table).regions[0]
    assert ours.share * 768 * 768 == pytest.approx(ideal)


def test_resizing_palette_and_transparent_pictures_first():
    """A fully transparent red layout is red at 768 × 768 as published, and gone when it is resized first."""
    table = [ColorEntry(RED, "dog")]
    hidden = Image.new("RGBA", (96, 96), (*RED, 0))
    assert published_layout(hidden, table).regions[0].mask.all()
    assert not published_layout(hidden.resize((144, 144)), table).regions[0].mask.any()
    with pytest.raises(LayoutError, match="no #ff0000"):
        layout_from_colors(hidden, table)


def test_published_rules_let_small_regions_vanish():
    small = Image.new("RGB", (768, 768), "white")
    ImageDraw.Draw(small).rectangle((350, 200, 389, 259), fill=RED)
    cells = [
        int((published_maps(small, [entry("dog")], prompt_ids("a dog")).at(side, side) > 0).sum())
        for side in (96, 48, 24, 12)
    ]
    assert cells[0] > 0 and cells[-1] == 0
    maps = weight_maps(layout_from_colors(small, [ColorEntry(RED, "dog")]), [[(2,)]])
    for side, count in zip((96, 48, 24, 12), cells, strict=True):
        assert int((maps.at(side, side) > 0).sum()) >= max(1, count)


def test_repeated_subjects_get_their_own_places():
    """Published, both dogs get the same map."""
    prompt = "a dog and a dog"
    assert match_positions(prompt_ids(prompt), ids("dog")) == [2, 5]
    assert rows(prompt, "dog#1", "dog#2") == [[2], [5]]
    assert rows(prompt, "dog", "dog") == [[2], [5]]


def test_published_layout_does_not_warn(caplog):
    with caplog.at_level(logging.WARNING, logger="cones2"):
        published_layout(picture(), [ColorEntry(RED, "dog")])
    assert not caplog.text


def test_published_maps_are_per_token():
    maps = published_maps(picture(), [entry("pet cat")], prompt_ids("a pet cat"), outside_weight=-2.0)
    assert maps.token_indices == (2, 3)
    values = maps.at(64, 64)
    assert torch.equal(values[:, 0], values[:, 1])
    assert values.unique().tolist() == [-2.0, 2.5]


def test_pictures_that_are_not_reduced_are_bounded():
    with pytest.raises(LayoutError, match="5000 × 4000: with published rules 16,777,216 pixels"):
        published_layout(Image.new("1", (5000, 4000)), [entry("dog")])
