"""Deltas on a diffusers model: the base is left as it is, strengths are factors, tokens are words of the prompt."""

from __future__ import annotations

import pytest
import torch

from cones2.custom_diffusion.base import attention_weights
from cones2.custom_diffusion.delta import make_delta
from cones2.custom_diffusion.fit import as_difference
from cones2.diffusers_models.deltas import DeltaUse, text_rows, with_deltas
from cones2.errors import DeltaError
from cones2.prompt.claims import locate_subjects, parse_phrase
from cones2.prompt.conditioning import Conditioning
from tests.support.deltas import delta_for
from tests.support.tiny_diffusers import WIDTH, tiny_model

MODEL = tiny_model()
DELTA = delta_for(MODEL)
LATENTS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def output(model):
    text = Conditioning(torch.randn(1, 77, WIDTH, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        return model.predict(LATENTS, torch.tensor([500]), text)


def embeds(model, prompt: str):
    return model.encode_prompts(prompt)[0].conditioning.embeds


def test_the_model_is_left_as_it_is() -> None:
    before, text = output(MODEL), embeds(MODEL, "a dog")
    changed = with_deltas(MODEL, [DeltaUse(DELTA)])
    assert not torch.equal(output(changed), before)
    assert torch.equal(output(MODEL), before) and torch.equal(embeds(MODEL, "a dog"), text)


def test_strength_nothing_gives_the_bits_of_the_model() -> None:
    unused = with_deltas(MODEL, [DeltaUse(DELTA, 0.0)])
    assert torch.equal(output(unused), output(MODEL))


def test_whole_weights_and_differences_are_the_same_at_strength_one() -> None:
    base = attention_weights(MODEL.unet.named_parameters())
    whole, moved = (with_deltas(MODEL, [DeltaUse(each)]) for each in (DELTA, as_difference(DELTA, base)))
    assert torch.allclose(output(whole), output(moved), atol=1e-5)


def test_two_deltas_are_the_sum_of_their_differences() -> None:
    twice = with_deltas(MODEL, [DeltaUse(DELTA, 0.5), DeltaUse(DELTA, 0.5)])
    assert torch.allclose(output(twice), output(with_deltas(MODEL, [DeltaUse(DELTA)])), atol=1e-5)


def test_prompts_without_the_token_are_encoded_as_before() -> None:
    assert torch.equal(embeds(with_deltas(MODEL, [DeltaUse(DELTA)]), "a dog"), embeds(MODEL, "a dog"))


def test_the_token_is_a_word_of_the_prompt_and_reads_its_vector() -> None:
    changed = with_deltas(MODEL, [DeltaUse(DELTA)])
    (prompt,) = changed.encode_prompts("a <new1> dog")
    (claim,) = locate_subjects(prompt.tokens, [parse_phrase("<new1> dog")], changed.tokenize)
    assert claim.spans == ((2, 3),)
    stronger = with_deltas(MODEL, [DeltaUse(DELTA, 1.0, 2.0)])
    rows = (prompt.conditioning.embeds - embeds(stronger, "a <new1> dog")).abs().amax(-1)[0]
    assert not rows[:2].any() and rows[2] > 0


def test_the_token_alone_is_a_phrase_too() -> None:
    changed = with_deltas(MODEL, [DeltaUse(DELTA)])
    (prompt,) = changed.encode_prompts("a <new1>")
    (claim,) = locate_subjects(prompt.tokens, [parse_phrase("<new1>")], changed.tokenize)
    assert claim.spans == ((2,),)


def test_two_files_with_one_name_get_two_words() -> None:
    changed = with_deltas(MODEL, [DeltaUse(DELTA), DeltaUse(delta_for(MODEL, 1))])
    assert list(changed.text.modifiers) == ["<new1>", "<new2>"]


def test_rows_reach_from_the_start_token_to_the_end_token() -> None:
    assert text_rows(MODEL.text)("a dog").shape == (4, WIDTH)


def test_a_delta_of_another_model_is_refused() -> None:
    name = next(iter(DELTA.weights))
    other = make_delta({name.replace("0", "7", 1): DELTA.weights[name]})
    with pytest.raises(DeltaError, match="not in this model"):
        with_deltas(MODEL, [DeltaUse(other)])
