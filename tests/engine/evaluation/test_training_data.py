"""What the toy world's denoiser is trained on, and the scenes with which it is measured."""

from __future__ import annotations

import random

import pytest
import torch

from cones2.assets import TOYWORLD
from cones2.evaluation.toyworld import captions, places, world

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from transformers import CLIPTokenizer

from tools.toyworld import scenes, unet, words
from tools.toyworld.pool import class_masks


@pytest.fixture(scope="module")
def vocabulary() -> words.Words:
    return words.Words(CLIPTokenizer.from_pretrained(TOYWORLD / "tokenizer"))


def drawn(count: int, seed: int = 0) -> list[world.Scene]:
    rng = random.Random(seed)
    return [world.random_scene(rng) for _ in range(count)]


def test_every_noun_of_every_caption_lies_in_the_rows_that_are_encoded_apart(vocabulary: words.Words) -> None:
    rng = random.Random(7)
    crowded = [s for s in drawn(3000) if len(s.things) == world.MOST]
    ids = vocabulary.encode([captions.caption(s, rng, described=1.0) for s in crowded])
    kinds = vocabulary.kinds(ids)
    assert (kinds > 0).sum(1).eq(world.MOST).all()
    assert not kinds[:, words.CAPTION_ROWS :].any()


def test_each_noun_gets_the_mask_of_its_object(vocabulary: words.Words) -> None:
    batch = drawn(40, seed=2)
    rng = random.Random(0)
    kinds = vocabulary.kinds(vocabulary.encode([captions.caption(s, rng) for s in batch]))
    masks = class_masks(batch, world.render(batch)[1]).float() / 255
    rows, valid, picked = unet.Batches._nouns(kinds, masks)
    assert rows.shape == valid.shape == (40, world.MOST)
    assert valid.sum(1).tolist() == [len(s.things) for s in batch]
    for row in range(40):
        for slot in valid[row].nonzero()[:, 0].tolist():
            kind = int(kinds[row, rows[row, slot]]) - 1
            assert torch.equal(picked[row, slot], masks[row, kind])


def test_only_nouns_of_objects_with_badge_or_dots_change(vocabulary: words.Words) -> None:
    things = [
        world.Thing(world.Look("mug", "red", badge="blue"), 16, 16, 20, 0),
        world.Thing(world.Look("dog", "red"), 48, 48, 20, 0),
    ]
    kinds = vocabulary.kinds(vocabulary.encode(["a photo of a red mug and a dog"]))[0]
    context = torch.zeros(words.LENGTH, 128)
    unet.add_wordless(context, kinds, world.Scene("snow", 0.4, 0.0, tuple(things)))
    changed = context.any(1).nonzero()[:, 0].tolist()
    assert changed == [int((kinds == world.CLASSES.index("mug") + 1).nonzero()[0])]
    assert torch.equal(context[changed[0]], captions.wordless_rows(things[0].look, 128))


@pytest.mark.parametrize("objects", scenes.BOX_SIDES)
def test_measured_scenes_are_decided_by_their_name_and_fit_the_picture(objects: int) -> None:
    cases = scenes.random_cases(40, objects, "test")
    assert cases == scenes.random_cases(40, objects, "test")
    assert cases != scenes.random_cases(40, objects, "other")
    for case in cases:
        assert len(case.boxes) == objects
        for box in case.boxes.values():
            assert min(box.x, box.y) >= 0 and max(box.x + box.width, box.y + box.height) <= 1
            side = box.width * world.SIZE
            assert places.SMALLEST_SIDE - 1e-6 <= side <= scenes.BOX_SIDES[objects][1] + 1e-6


def test_a_subject_is_described_as_far_as_words_go() -> None:
    case = scenes.random_cases(1, 2, "test", "house")[0]
    other = next(kind for kind in case.boxes if kind != "house")
    text = case.text({"house": world.WORDLESS_SUBJECTS["house_with_badge"]})
    assert "a green striped yellow house" in text and f"a {other}" in text


def test_intervals_are_wilsons() -> None:
    assert scenes.wilson(89, 96) == [0.927, 0.857, 0.964]
    assert scenes.wilson(0, 24) == [0.0, 0.0, 0.138]
