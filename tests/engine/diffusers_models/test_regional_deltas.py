"""Deltas in regions of a diffusers model: one forward pass, the same as the delta itself where the region is all."""

from __future__ import annotations

from dataclasses import replace

import torch

from cones2.custom_diffusion.base import attention_weights
from cones2.custom_diffusion.regional import own_projections
from cones2.diffusers_models.deltas import DeltaUse, with_deltas
from cones2.guidance.regional import RegionalProjections
from cones2.sampling.settings import SamplingSettings
from cones2.scene import compose
from tests.support.deltas import delta_for
from tests.support.tiny_diffusers import tiny_model

MODEL = tiny_model()
DELTA = delta_for(MODEL, size=3.0)
SETTINGS = SamplingSettings(steps=2, seeds=(0,), height=32, width=32, cfg=1.0, recurrence=False)


def scene_with(columns: slice):
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, columns] = True
    layers = own_projections(DELTA, attention_weights(MODEL.unet.named_parameters()))
    return replace(compose(MODEL, "a dog"), regional=(RegionalProjections(mask, layers),))


def test_a_region_of_everything_is_the_delta_itself() -> None:
    regional = MODEL.sample(scene_with(slice(None)), SETTINGS)
    whole = with_deltas(MODEL, [DeltaUse(DELTA)])
    expected = whole.sample(compose(whole, "a dog"), SETTINGS)
    assert torch.allclose(regional, expected, atol=1e-3 * float(expected.abs().max()))
    assert not torch.allclose(regional, MODEL.sample(compose(MODEL, "a dog"), SETTINGS), atol=1e-3)


def test_no_region_gives_the_bits_of_the_model() -> None:
    plain = MODEL.sample(compose(MODEL, "a dog"), SETTINGS)
    assert torch.equal(MODEL.sample(scene_with(slice(0, 0)), SETTINGS), plain)


def test_it_takes_no_further_forward_pass() -> None:
    calls = []
    handle = MODEL.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        MODEL.sample(scene_with(slice(0, 8)), SETTINGS)
    finally:
        handle.remove()
    assert len(calls) == SETTINGS.steps


def test_the_negative_prompt_stays_plain() -> None:
    guided = replace(SETTINGS, cfg=0.0)  # the negative half alone
    plain = MODEL.sample(compose(MODEL, "a dog"), guided)
    assert torch.allclose(MODEL.sample(scene_with(slice(None)), guided), plain, atol=1e-5 * float(plain.abs().max()))
