"""Flow matching: its noise level in the units of the guidance term, and renoising."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.sampling.noise import LARGEST_SIGMA, FlowNoise, flow_renoise, flow_sigma, renoise


def test_noise_levels_are_ratios_of_noise_to_signal() -> None:
    found = flow_sigma(torch.tensor([0.0, 0.5, 0.75, 1.0])).tolist()
    assert found == pytest.approx([0.0, 1.0, 3.0, LARGEST_SIGMA])


def test_the_largest_level_is_the_one_of_stable_diffusion() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha = (1 - betas).cumprod(0)[-1]
    assert float(((1 - alpha) / alpha) ** 0.5) == pytest.approx(LARGEST_SIGMA, abs=1e-4)


@settings(max_examples=40)
@given(st.floats(0.01, 0.98), st.floats(0.0, 1.0))
def test_renoising_is_that_of_latents_in_units_of_sigma(level: float, share: float) -> None:
    t, s = torch.tensor(level, dtype=torch.float64), torch.tensor(level * share, dtype=torch.float64)
    x, noise = torch.randn(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    in_sigma = renoise(x / (1 - s), noise, t / (1 - t), s / (1 - s))
    assert torch.allclose(flow_renoise(x, noise, t, s), (1 - t) * in_sigma, atol=1e-9)


@pytest.mark.parametrize(("level", "lower"), [(0.9, 0.7), (0.5, 0.0), (1.0, 0.8)])
def test_renoised_latents_have_the_mean_and_the_variance_of_their_level(level: float, lower: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, count = 3.0, 200_000
    first, second = torch.randn(2, count, generator=generator)
    t, s = torch.tensor(level), torch.tensor(lower)
    x = flow_renoise((1 - s) * clean + s * first, second, t, s)
    assert float(x.mean()) == pytest.approx((1 - level) * clean, abs=4 * level / count**0.5)
    assert float(x.var()) == pytest.approx(level**2, rel=4 * (2 / count) ** 0.5)


def test_nothing_is_left_at_pure_noise() -> None:
    noise = torch.randn(8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flow_renoise(torch.full((8,), 5.0), noise, torch.tensor(1.0), torch.tensor(0.5)), noise)


LEVELS = torch.linspace(0.001, 1.0, 1000)


def test_training_states_and_targets_of_flow_matching_by_hand() -> None:
    noise = FlowNoise(torch.tensor([0.25, 1.0]))
    latents, drawn = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 6.0)
    mixed = noise.noisy(latents, drawn, torch.tensor([0, 1])).flatten()
    assert mixed.tolist() == [3.0, 6.0]
    assert noise.target(latents, drawn, torch.tensor([0, 1])).flatten().tolist() == [4.0, 4.0]
    assert noise.sigmas(torch.tensor([0, 1])).tolist() == pytest.approx([1 / 3, LARGEST_SIGMA])


@settings(max_examples=40)
@given(st.integers(0, 998))
def test_a_perfect_velocity_gives_back_the_clean_latents(timestep: int) -> None:
    noise, generator = FlowNoise(LEVELS), torch.Generator().manual_seed(0)
    clean, drawn = torch.randn(2, 1, 4, 3, 5, generator=generator)
    timesteps = torch.tensor([timestep])
    level = noise.level(timesteps)
    sigma = level / (1 - level)
    x = clean + sigma * drawn
    assert torch.allclose(noise.network_input(x, sigma), noise.noisy(clean, drawn, timesteps), atol=1e-4)
    assert torch.allclose(noise.denoised(x, sigma, noise.target(clean, drawn, timesteps)), clean, atol=2e-3)


class _NoDoubles(torch.Tensor):
    """A tensor as on Apple's GPUs, which have no float64; only its copy on the CPU has."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = super().__torch_function__(func, types, args, kwargs or {})
        if func is torch.Tensor.cpu:
            return found.as_subclass(torch.Tensor)
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            raise TypeError("this device has no float64")
        return found


def test_noise_levels_need_no_float64_of_the_device() -> None:
    timesteps = torch.tensor([0.0, 0.5, 998.0])
    there = FlowNoise(LEVELS.as_subclass(_NoDoubles))
    assert torch.equal(there.level(timesteps.as_subclass(_NoDoubles)), FlowNoise(LEVELS).level(timesteps))
    assert torch.equal(there.schedule(4).sigmas, FlowNoise(LEVELS).schedule(4).sigmas)


def test_a_schedule_of_flow_matching_starts_in_noise_and_falls_to_nothing() -> None:
    noise = FlowNoise(LEVELS)
    schedule = noise.schedule(4)
    assert float(schedule.sigmas[0]) == pytest.approx(999, rel=1e-3) and float(schedule.sigmas[-1]) == 0.0
    assert (schedule.sigmas.diff() < 0).all()
    between = torch.tensor([schedule.timestep(float(schedule.sigmas[1]))])
    assert float(noise.level(between)) == pytest.approx(float(schedule.sigmas[1] / (1 + schedule.sigmas[1])), rel=1e-3)
