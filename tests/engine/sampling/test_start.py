"""Starts: pure noise, shifted noise, noised latents."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.sampling.schedule import scaled_linear_alphas
from cones2.sampling.start import PURE_NOISE, SD_SIGMA_MAX, Start, photo_shift


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 64, 64, generator=generator), torch.rand(2, 4, 64, 64, generator=generator)


def left_half() -> torch.Tensor:
    cells = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    cells[..., :32] = True
    return cells


def test_the_reference_is_the_highest_noise_level_of_stable_diffusion() -> None:
    alphas = scaled_linear_alphas().double()
    assert abs(float(((1 - alphas[-1]) / alphas[-1]).sqrt()) - SD_SIGMA_MAX) < 1e-3


def test_pure_noise_is_the_noise_times_sigma_to_the_bit() -> None:
    noise, _ = drawn()
    assert torch.equal(PURE_NOISE.noisy(noise, torch.tensor(14.6)), noise * torch.tensor(14.6))


@settings(max_examples=20)
@given(amount=st.floats(0, 100), sigma=st.floats(0.1, 4000))
def test_a_shift_moves_the_mean_inside_and_leaves_the_bits_outside(amount: float, sigma: float) -> None:
    noise, latents = drawn()
    level = torch.tensor(sigma)
    x = Start(photo_shift(latents, left_half(), amount)).noisy(noise, level)
    assert torch.equal(x[..., 32:], (noise * level)[..., 32:])
    expected = amount / SD_SIGMA_MAX * float(latents[..., :32].mean())
    mean = float((x / level - noise)[..., :32].mean())
    assert abs(mean - expected) < 1e-4 * max(1, amount)
    spread = x / level - amount / SD_SIGMA_MAX * latents
    assert abs(float(spread[..., :32].std()) - float(noise[..., :32].std())) < 1e-4 * max(1, amount)


def test_at_stable_diffusion_s_highest_level_it_is_the_published_formula() -> None:
    noise, latents = drawn()
    sigma = torch.tensor(SD_SIGMA_MAX)
    x = Start(photo_shift(latents, torch.ones(2, 1, 64, 64, dtype=torch.bool), 8.0)).noisy(noise, sigma)
    assert torch.allclose(x, sigma * noise + 8 * latents, atol=1e-4)


def test_noised_latents_are_added_unscaled() -> None:
    noise, latents = drawn()
    assert torch.equal(Start(latents=latents).noisy(noise, torch.tensor(2.0)), noise * 2 + latents)
