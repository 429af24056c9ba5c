"""Constrained merge: every concept's words keep their own outputs, captions change least."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cones2.custom_diffusion.captions import ordinary_captions
from cones2.custom_diffusion.delta import Delta, token_names
from cones2.custom_diffusion.merge import distinct_rows, merge, merge_rows
from cones2.custom_diffusion.merge_prompts import (
    our_phrases,
    published_compvis_phrases,
    published_phrases,
    rows_of,
)
from cones2.errors import DeltaError
from tests.support import deltas
from tests.support.deltas import WIDTH, weights

BASE = {name: tensor * 0.5 for name, tensor in weights(9).items()}


def encode(prompt: str) -> Tensor:
    """A row per word, its own for each, between a start and an end row."""
    rows = [
        torch.randn(WIDTH, generator=torch.Generator().manual_seed(hash_of(word) % 2**31))
        for word in ("[start]", *prompt.split(), "[end]")
    ]
    return torch.stack(rows)


def hash_of(word: str) -> int:
    return sum(ord(letter) * 131**place for place, letter in enumerate(word))


def merged(*parts: Delta):
    return merge(parts, BASE, lambda tokens: encode, ordinary_captions())


def test_each_concept_keeps_its_own_outputs() -> None:
    one, two = deltas.delta(1), deltas.delta(2, "<other>").with_class_words(["dog"])
    result = merged(one, two)
    assert result.constraint_error < 1e-8
    for name, change in result.delta.weights.items():
        ours, row = change.parts()["whole"], encode("<other>")[1]
        assert torch.allclose(ours @ row, two.weights[name].parts()["whole"] @ row, atol=1e-4)


def test_no_other_weight_with_these_outputs_changes_captions_less() -> None:
    parts, words = [deltas.delta(1), deltas.delta(2, "<b>")], torch.stack([encode("cat")[1], encode("dog")[1]])
    kept = torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(0)) * torch.arange(1, WIDTH + 1)
    result = merge_rows(parts, BASE, kept, [words[:1], words[1:]])
    for name, change in result.delta.weights.items():
        outputs = torch.stack(
            [part.weights[name].parts()["whole"] @ word for part, word in zip(parts, words, strict=True)]
        )
        nearest = BASE[name] + (outputs.T - BASE[name] @ words.T) @ torch.linalg.pinv(words.T)
        changed = [float(((weight - BASE[name]) @ kept.T).norm()) for weight in (change.parts()["whole"], nearest)]
        assert torch.allclose(nearest @ words.T, outputs.T, atol=1e-3)
        assert changed[0] < changed[1]


def test_tokens_of_one_name_are_renamed() -> None:
    result = merged(deltas.delta(1), deltas.delta(2).with_class_words(["dog"]))
    assert token_names(result.delta) == ["<new1>", "<new2>"]


def test_three_concepts_merge() -> None:
    parts = [deltas.delta(seed).with_class_words([word]) for seed, word in enumerate(("cat", "dog", "pot"))]
    few = merge_rows(
        [part.with_names([f"<new{rank}>"]) for rank, part in enumerate(parts, 1)],
        BASE,
        torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0)),
        [encode(word)[1:2] for word in ("cat", "dog", "pot")],
    )
    assert few.target_rows == 3 and few.constraint_error < 1e-8


def test_rows_that_are_almost_equal_are_one_constraint() -> None:
    row = torch.ones(WIDTH)
    rows, owners, clashes = distinct_rows([row[None], torch.stack([row + 1e-6, -row])])
    assert (len(rows), owners, clashes) == (2, [0, 1], [(0, 1)])


def test_almost_equal_rows_leave_the_weights_small() -> None:
    row = torch.randn(WIDTH, generator=torch.Generator().manual_seed(3))
    kept = torch.randn(100, WIDTH, generator=torch.Generator().manual_seed(4))
    result = merge_rows([deltas.delta(1), deltas.delta(2, "<b>")], BASE, kept, [row[None], row[None] + 1e-6])
    assert max(float(change.parts()["whole"].abs().max()) for change in result.delta.weights.values()) < 50


def test_one_class_twice_is_said() -> None:
    assert any('two concepts are "cat"' in note for note in merged(deltas.delta(1), deltas.delta(2)).notes)


def test_too_few_caption_rows_are_said() -> None:
    result = merge_rows([deltas.delta(1), deltas.delta(2, "<b>")], BASE, encode("a")[1:], [encode("b"), encode("c")])
    assert any("give more captions" in note for note in result.notes)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([deltas.delta(1)], "two deltas or more"),
        ([deltas.delta(1), deltas.delta(2).with_names(["<x>"]).with_weights({})], ""),
        ([deltas.delta(1), Delta(deltas.delta(2).weights)], "delta 2 has no token"),
    ],
)
def test_what_cannot_be_merged_is_said(parts: list[Delta], sentence: str) -> None:
    if not sentence:
        assert merged(*parts).delta.weights
        return
    with pytest.raises(DeltaError, match=sentence):
        merged(*parts)


def test_a_token_without_class_word_is_asked_for() -> None:
    nameless = Delta(deltas.delta(2).weights, (deltas.token("<b>"),))
    with pytest.raises(DeltaError, match="no class word is known for <b>"):
        merged(deltas.delta(1), nameless)


def test_the_phrases_are_as_published() -> None:
    assert published_phrases("<new1>", "cart") == ("<new1> cart", "painting in the style of <new1> cart")
    assert our_phrases("<new1>", "cart") == ("<new1> cart", "photo of a <new1> cart")
    assert published_compvis_phrases("<new2>", "dog") == ("<new2> dog", "a photo of <new2> dog")


def test_a_photo_counts_from_its_fourth_row() -> None:
    assert len(rows_of(encode, "photo of a <new1> cat")) == 3
    assert len(rows_of(encode, "<new1> cat")) == 3


@pytest.mark.parametrize("kept", [torch.zeros(4, WIDTH), torch.full((4, WIDTH), float("nan"))])
def test_captions_that_determine_nothing_are_refused(kept: Tensor) -> None:
    with pytest.raises(DeltaError, match="captions"):
        merge_rows([deltas.delta(1), deltas.delta(2, "<b>")], BASE, kept, [encode("b"), encode("c")])


def test_words_that_contradict_each_other_are_refused() -> None:
    rows, kept = encode("b").double(), torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DeltaError, match="contradict"):
        merge_rows([deltas.delta(1), deltas.delta(2, "<b>")], BASE, kept, [rows[:2], rows[:1] + rows[1:2]])


def test_a_multiple_of_another_word_is_refused() -> None:
    row, kept = torch.ones(1, WIDTH), torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DeltaError, match="depend on each other"):
        merge_rows([deltas.delta(1), deltas.delta(2, "<b>")], BASE, kept, [row, 2 * row])
