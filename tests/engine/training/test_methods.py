"""Captions, objective, and the two methods."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cones2.errors import ConfigError, ModelError, PromptError
from cones2.prompt.spelled import Spelling, spelled_phrase, spelled_tokens
from cones2.prompt.tokens import Piece, PromptTokens
from cones2.training.batches import LatentBatches
from cones2.training.captions import CAPTION_TEMPLATES, place_subject, subject_captions
from cones2.training.config import default_config
from cones2.training.methods import DirectMethod, PaperMethod, make_method
from cones2.training.objective import Batch, drift, masked_mse
from cones2.training.preview import preview_latents
from tests.support.small_tokenizer import stream, tokenize
from tests.support.tiny_training import WIDTH, latent_views, quick_config, tiny_model, trainer


def test_there_are_27_different_templates_with_one_place_each():
    assert len(set(CAPTION_TEMPLATES)) == 27
    assert all(template.count("{}") == 1 for template in CAPTION_TEMPLATES)


@pytest.mark.parametrize("subject", ["dog", "hot dog", "small dog", "pet_cat", "close-up photo", "a"])
def test_subject_rows_are_those_of_the_inserted_words(subject):
    wanted = [piece.id for piece in tokenize(subject)]
    for caption in subject_captions(subject, stream, tokenize):
        at = {token.index: token.piece.id for token in stream(caption.text).tokens}
        assert [at[index] for index in caption.span] == wanted
        assert caption.span[-1] == max(at)  # all templates end with the subject: the last run is the right one


def test_a_subject_without_words_is_refused():
    with pytest.raises(PromptError, match="has no words"):
        place_subject("a photo of a {}", "...", stream, tokenize)


def test_a_subject_that_fuses_with_its_neighbors_is_refused():
    with pytest.raises(PromptError, match="tokenized differently"):
        place_subject("a hot{}", "dog", stream, lambda text: [Piece(sum(map(ord, text)), text.encode(), True)])


@pytest.mark.parametrize("count", [69, 76, 199])
def test_a_subject_with_more_tokens_than_fit_beside_its_caption_is_refused(count: int) -> None:
    with pytest.raises(PromptError, match=f"has {count} tokens: .* more than the 75 of one prompt"):
        subject_captions("a " * count, stream, tokenize)


def test_masked_error_counts_the_inside_of_each_sample_alone():
    difference = torch.zeros(2, 4, 2, 2)
    difference[0, :, 0, 0], difference[1] = 2.0, 1.0
    mask = torch.zeros(2, 1, 2, 2)
    mask[0, 0, 0, 0], mask[1, 0, :, 0] = 1, 1
    assert float(masked_mse(difference, mask)) == pytest.approx((4 + 1) / 2)
    assert float(masked_mse(difference)) == pytest.approx((4 / 4 + 1) / 2)


def test_drift_leaves_the_subject_free():
    moved = torch.zeros(77, 4)
    moved[0], moved[1:3], moved[3] = 1, 100, 2
    first, rest = drift(moved, torch.zeros(77, 4), subject_tokens=2)
    assert (float(first), float(rest)) == (2, 4)


def test_drift_has_a_gradient_of_zero_at_the_start():
    tuned = torch.zeros(77, 4, requires_grad=True)
    sum(drift(tuned, torch.zeros(77, 4), 1)).backward()
    assert torch.equal(tuned.grad, torch.zeros(77, 4))


def whole_batch(model, count=3):
    config = quick_config(batch_size=count)
    ((_, batch),) = LatentBatches(latent_views(model), config, 27, 1000, model.device)(0, 0)
    return batch


def single(batch, index):
    pick = slice(index, index + 1)
    return replace(
        batch,
        latents=batch.latents[pick],
        noise=batch.noise[pick],
        timesteps=batch.timesteps[pick],
        captions=batch.captions[pick],
        time_ids=batch.time_ids[pick],
    )


@pytest.mark.parametrize("method", ["paper", "direct"])
@pytest.mark.parametrize("xl", [False, True])
def test_a_batch_is_the_mean_of_its_samples(method, xl):
    model = tiny_model(xl=xl)
    learner = make_method(model, quick_config(method, "hot dog"))
    with torch.no_grad():  # away from the start, where the drift vanishes
        for weight in learner.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    batch = whole_batch(model)
    alone = [learner(single(batch, index))[0] for index in range(3)]
    assert learner(batch)[0].item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)


@pytest.mark.parametrize("subject, tokens", [("dog", 1), ("hot dog", 2)])
def test_paper_residual_is_the_mean_shift_at_the_subjects_rows(subject, tokens):
    model = tiny_model()
    method = PaperMethod(model, quick_config("paper", subject))
    assert torch.equal(method.residual(), torch.zeros(tokens, WIDTH))
    frozen = [model.encode_text([caption.text]).embeds[0, list(caption.span)] for caption in method.captions]
    with torch.no_grad():
        for weight in model.text_weights.values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
    tuned = [model.encode_text([caption.text]).embeds[0, list(caption.span)] for caption in method.captions]
    wanted = torch.stack([after - before for after, before in zip(tuned, frozen, strict=True)]).mean(0)
    assert torch.allclose(method.residual(), wanted, atol=1e-6)
    assert method.residual().requires_grad is False and method.residual().device.type == "cpu"


def test_paper_loss_terms_have_the_published_weights():
    method = PaperMethod(tiny_model(), quick_config("paper"))
    with torch.no_grad():
        for weight in method.weights:
            weight.add_(0.05)
    loss, terms = method(whole_batch(method.model))
    assert float(terms["drift_rest"]) > 0
    wanted = terms["error"] + 1e-2 * terms["drift_first"] + 1e-3 * terms["drift_rest"]
    assert float(loss) == pytest.approx(float(wanted))


def test_direct_adds_the_residual_at_each_captions_own_rows():
    method = DirectMethod(tiny_model(), quick_config(subject="hot dog"))
    residual = torch.arange(2 * WIDTH).view(2, WIDTH).float() + 1
    captions = [0, 9, 0]
    conditioning = method.with_residual(residual, captions)
    for index, caption in enumerate(captions):
        added = conditioning.embeds[index] - method.frozen.embeds[caption]
        rows = method.captions[caption].span
        assert torch.allclose(added[list(rows)], residual, atol=1e-4)
        assert float(added.abs().sum()) == pytest.approx(float(residual.abs().sum()), rel=1e-5)


def test_direct_trains_the_vectors_alone():
    model = tiny_model(xl=True)
    before = {name: weight.clone() for name, weight in model.text_weights.items()}
    run = trainer(quick_config(steps=3), model)
    residual = run.run().residual
    assert residual.shape == (1, WIDTH + 8) and float(residual.norm()) > 0
    assert [weight.shape for weight in run.method.parameters()] == [(1, WIDTH + 8)]
    assert all(torch.equal(weight, before[name]) for name, weight in model.text_weights.items())


def test_token_num_takes_the_first_tokens_only():
    method = DirectMethod(tiny_model(), quick_config(subject="hot dog", token_num=1))
    assert method.residual().shape == (1, WIDTH)
    assert len(method.captions[0].span) == 1
    with pytest.raises(ConfigError, match='token_num is 3, but "hot dog" has 2 tokens'):
        DirectMethod(tiny_model(), quick_config(subject="hot dog", token_num=3))


def test_norm_limit_and_norm_penalty_shorten_the_residual():
    free = trainer(quick_config(steps=10, learning_rate=0.5)).run().residual
    penalised = trainer(quick_config(steps=10, learning_rate=0.5, norm_penalty=1.0)).run().residual
    limited = trainer(quick_config(steps=10, learning_rate=0.5, max_norm=0.5)).run().residual
    assert float(penalised.norm()) < float(free.norm())
    assert float(limited.norm()) == pytest.approx(0.5, rel=1e-4)


def test_preservation_keeps_the_prediction_nearer_to_the_plain_one():
    def change(weight):
        run = trainer(quick_config(steps=20, learning_rate=0.3, preservation=weight))
        batch = whole_batch(run.method.model)
        moved = run.method.with_residual(run.run().residual, batch.captions)
        predict = run.method.model.predict
        plain = predict(batch.latents, batch.timesteps, run.method.frozen.select(batch.captions), batch.time_ids)
        return float((predict(batch.latents, batch.timesteps, moved, batch.time_ids) - plain).square().mean())

    assert change(100.0) < 0.5 * change(0.0)


def test_preservation_acts_outside_the_mask_only():
    method = DirectMethod(tiny_model(), quick_config(preservation=1.0))
    with torch.no_grad():
        method.vectors.add_(3.0)
    batch = whole_batch(method.model)
    everywhere = method(replace(batch, masks=torch.zeros(3, 1, 8, 8)))[1]["preservation"]
    nowhere = method(replace(batch, masks=torch.ones(3, 1, 8, 8)))[1]["preservation"]
    assert float(everywhere) > 0 and float(nowhere) == 0


def test_moving_average_is_unbiased():
    method = DirectMethod(tiny_model(), quick_config(average=0.9))
    with torch.no_grad():
        method.vectors.fill_(2.0)
    for _ in range(3):
        method.updated()
    assert torch.allclose(method.residual(), torch.full((1, WIDTH), 2.0))


def test_sdxl_pooled_text_stays_frozen_and_sizes_are_the_crops():
    model = tiny_model(xl=True)
    seen = []
    spy = replace(model, predict=lambda *arguments: (seen.append(arguments), model.predict(*arguments))[1])
    method = PaperMethod(spy, quick_config("paper"))
    pooled = model.encode_text(["dog"]).pooled
    with torch.no_grad():
        for weight in method.weights:
            weight.add_(0.1)
    batch = replace(whole_batch(model), time_ids=torch.tensor([[480.0, 640, 0, 8, 64, 64]]).expand(3, 6))
    method(batch)
    _, _, conditioning, sizes = seen[-1]
    assert torch.equal(conditioning.pooled, pooled.expand(3, -1))
    assert torch.equal(sizes, batch.time_ids)


def test_paper_needs_text_weights():
    with pytest.raises(ModelError, match="offers no text weights"):
        PaperMethod(replace(tiny_model(), text_weights={}), quick_config("paper"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"method": "best"}, "there is no training method"),
        ({"schedule": "linear"}, "choose constant or cosine"),
        ({"speed": 1}, "unknown training setting speed"),
        ({"timesteps": (0.5, 0.2)}, "two rising fractions"),
        ({"subject": " "}, "the subject phrase is empty"),
        ({"subject": "do\0g"}, "does not print"),
        ({"subject": "x" * 201}, "has 201 characters"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        default_config(**{"method": "direct", "subject": "dog", **changes})


def test_paper_defaults_are_the_published_ones():
    config = default_config("paper", "dog")
    assert (config.learning_rate, config.steps, config.batch_size, config.weight_decay) == (5e-6, 4000, 1, 1e-2)
    assert (config.drift_first, config.drift_rest, config.max_grad_norm, config.warmup_steps) == (1e-2, 1e-3, 1, 0)


def test_learning_rate_schedules():
    cosine = default_config("direct", "dog", steps=10, learning_rate=1.0, schedule="cosine", warmup_steps=2)
    rates = [cosine.learning_rate_at(step) for step in range(11)]
    assert rates[:3] == [0.5, 1.0, 1.0] and rates[6] == pytest.approx(0.5) and rates[10] == pytest.approx(0)
    constant = default_config("paper", "dog")
    assert {constant.learning_rate_at(step) for step in range(5)} == {5e-6}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_preview_is_repeatable_and_shows_the_residual(prediction_type):
    method = DirectMethod(tiny_model(prediction_type), quick_config())
    plain = method.model.encode_text([""]).detached()
    size = torch.tensor([64.0, 64, 0, 0, 64, 64])
    first, again = (preview_latents(method, plain, size, (4, 8, 8), steps=4) for _ in range(2))
    assert first.shape == (1, 4, 8, 8) and torch.isfinite(first).all() and torch.equal(first, again)
    with torch.no_grad():
        method.vectors.add_(5.0)
    assert not torch.equal(first, preview_latents(method, plain, size, (4, 8, 8), steps=4))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_preview_of_a_perfect_network_ends_at_its_clean_latents(prediction_type):
    clean = torch.full((1, 4, 8, 8), 0.7)
    base = tiny_model(prediction_type)

    def perfect(noisy, timesteps, conditioning, sizes):
        trained = ((1 - base.noise.alphas_cumprod) / base.noise.alphas_cumprod).sqrt()
        sigma = float(np.interp(float(timesteps), np.arange(1000), trained))
        signal, spread = 1 / math.sqrt(sigma**2 + 1), sigma / math.sqrt(sigma**2 + 1)
        noise = (noisy - signal * clean) / spread
        return noise if prediction_type == "epsilon" else signal * noise - spread * clean

    method = DirectMethod(replace(base, predict=perfect), quick_config())
    plain = base.encode_text([""]).detached()
    assert torch.allclose(preview_latents(method, plain, torch.zeros(6), (4, 8, 8)), clean, atol=1e-3)


def test_batch_type_has_one_caption_per_sample():
    batch = whole_batch(tiny_model())
    assert isinstance(batch, Batch) and len(batch.captions) == len(batch.latents) == 3


@pytest.mark.parametrize("front", [b"", b" "])
def test_a_subject_is_found_in_captions_that_are_spelled(front: bytes) -> None:
    """With one token for each word, which holds the space before it."""

    def spelled(prompt: str) -> PromptTokens:
        words = prompt.split(" ")
        spellings = [Spelling(n, (front if n == 0 else b" ") + word.encode()) for n, word in enumerate(words)]
        return PromptTokens(prompt, spelled_tokens(spellings), 256)

    found = [
        place_subject(text, "small dog", spelled, spelled_phrase) for text in ("a photo of the small {}", "{} here")
    ]
    assert [caption.span for caption in found] == [(5, 6), (0, 1)]
