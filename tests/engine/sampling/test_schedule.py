"""Noise levels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import Cones2Error
from cones2.sampling.schedule import linear_schedule, scaled_linear_alphas

ALPHAS = scaled_linear_alphas()


def trained_sigma(step: int) -> float:
    product = 1.0
    for index in range(step + 1):
        root = 0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * index / 999
        product *= 1 - root**2
    return math.sqrt((1 - product) / product)


def test_ends_of_the_stable_diffusion_schedule():
    sigmas = linear_schedule(ALPHAS, 50).sigmas
    assert float(sigmas[0]) == pytest.approx(trained_sigma(999), rel=1e-4)
    assert float(sigmas[0]) == pytest.approx(14.6146, abs=1e-3)
    assert float(sigmas[-2]) == pytest.approx(trained_sigma(0), rel=1e-4)
    assert float(sigmas[-1]) == 0


@given(st.integers(1, 1000))
def test_timesteps_are_even_and_fractional(steps):
    schedule = linear_schedule(ALPHAS, steps)
    assert schedule.timesteps.dtype == torch.float64
    assert schedule.timesteps.shape == (steps,)
    assert schedule.sigmas.shape == (steps + 1,)
    assert float(schedule.timesteps[0]) == 999
    assert (schedule.sigmas.diff() < 0).all()
    if steps > 1:
        assert float(schedule.timesteps[-1]) == 0
        assert torch.allclose(schedule.timesteps.diff(), torch.tensor(-999 / (steps - 1), dtype=torch.float64))


def test_sigma_between_two_steps_is_interpolated():
    schedule = linear_schedule(ALPHAS, 3)
    assert float(schedule.timesteps[1]) == 499.5
    assert float(schedule.sigmas[1]) == pytest.approx((trained_sigma(499) + trained_sigma(500)) / 2, rel=1e-4)


@given(st.integers(1, 200))
def test_a_noise_level_of_the_run_has_exactly_its_timestep(steps):
    schedule = linear_schedule(ALPHAS, steps)
    for step in range(steps):
        sigma = float(schedule.sigmas[step])
        assert schedule.timestep(sigma) == float(schedule.timesteps[step])
        assert schedule.position(sigma) == step


def test_between_two_noise_levels_the_timestep_is_interpolated():
    schedule = linear_schedule(ALPHAS, 3)
    between = float(schedule.sigmas[0] + schedule.sigmas[1]) / 2
    assert schedule.timestep(between) == pytest.approx((999 + 499.5) / 2)
    assert schedule.position(between) == pytest.approx(0.5)


def test_fewer_guided_steps_are_another_schedule():
    """Why the published second table cannot stand for the sampler's σ."""
    assert not torch.allclose(
        linear_schedule(ALPHAS, 20).sigmas[:10], linear_schedule(ALPHAS, 10).sigmas[:10], rtol=0.1
    )


@pytest.mark.parametrize("steps", [0, -1])
def test_too_few_steps(steps):
    with pytest.raises(Cones2Error, match=f"{steps} sampling steps"):
        linear_schedule(ALPHAS, steps)
