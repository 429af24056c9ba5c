"""What the toy world's denoiser is trained on."""

from __future__ import annotations

import random

import pytest
import torch

from cones2.assets import TOYWORLD
from cones2.evaluation.toyworld import captions, world

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from transformers import CLIPTokenizer

from tools.toyworld import unet, words
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
