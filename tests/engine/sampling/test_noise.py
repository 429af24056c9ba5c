"""The noise of diffusion models: what the network sees, what it should predict, and back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cones2.sampling.noise import log_growth, make_noise
from cones2.sampling.schedule import scaled_linear_alphas

ALPHAS = torch.tensor([0.81, 0.36])
LATENTS, DRAWN = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
TIMESTEPS = torch.tensor([0, 1])
KINDS = ("epsilon", "v_prediction")


def test_training_states_and_targets_by_hand():
    epsilon, velocity = (make_noise(kind, ALPHAS) for kind in KINDS)
    mixed = epsilon.noisy(LATENTS, DRAWN, TIMESTEPS).flatten()
    assert mixed.tolist() == pytest.approx([0.9 * 2 + 0.19**0.5 * 3, 0.6 * 2 + 0.8 * 3])
    assert epsilon.target(LATENTS, DRAWN, TIMESTEPS) is DRAWN
    targets = velocity.target(LATENTS, DRAWN, TIMESTEPS).flatten()
    assert targets.tolist() == pytest.approx([0.9 * 3 - 0.19**0.5 * 2, 0.6 * 3 - 0.8 * 2])


@given(st.sampled_from(KINDS), st.integers(0, 999), st.integers(0, 2**31))
def test_a_perfect_prediction_gives_back_the_clean_latents(kind, timestep, seed):
    generator = torch.Generator().manual_seed(seed)
    clean, drawn = (torch.randn(1, 4, 3, 5, generator=generator) for _ in range(2))
    noise = make_noise(kind, scaled_linear_alphas())
    alpha = float(noise.alphas_cumprod[timestep])
    sigma = torch.tensor(math.sqrt((1 - alpha) / alpha))
    x = clean + sigma * drawn
    timesteps = torch.tensor([timestep])
    assert torch.allclose(noise.network_input(x, sigma), noise.noisy(clean, drawn, timesteps), atol=1e-4)
    assert torch.allclose(noise.denoised(x, sigma, noise.target(clean, drawn, timesteps)), clean, atol=2e-3)


@given(st.floats(0, 15), st.floats(0, 1))
def test_renoised_latents_have_the_noise_of_the_higher_level(sigma, share):
    low, high = torch.tensor(sigma * share), torch.tensor(sigma)
    added = make_noise("epsilon", ALPHAS).renoise(torch.zeros(1), torch.ones(1), high, low)
    assert float(added**2 + low**2) == pytest.approx(float(high**2), abs=1e-3)


def test_growth_of_a_number_and_of_a_batch():
    levels = torch.tensor([0.0, 1.0, 14.6])
    assert log_growth(levels).tolist() == pytest.approx([log_growth(float(level)) for level in levels], rel=1e-6)
    assert log_growth(0.0) == 0 and log_growth(1.0) == pytest.approx(math.log(2))


def test_an_unknown_prediction_is_not_made_up():
    with pytest.raises(KeyError):
        make_noise("sample", ALPHAS)
