"""Euler sampling with self-recurrence, without any network."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.errors import Cancelled
from cones2.sampling.euler import SeededNoise, StepInfo, euler_step, sample_euler
from cones2.sampling.noise import renoise

SIGMAS = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.0])


def toy_denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return x * (0.3 - 0.02 * sigma) + 0.1 * sigma


def fresh(draw):
    """How steps are noised back with these draws."""
    return lambda x, sigma, sigma_next: renoise(x, draw(), sigma, sigma_next)


def naive_sampling(latents, sigmas, repeated_steps, noise):
    """Algorithm 1 written out."""
    x = latents.clone()
    for i in range(len(sigmas) - 1):
        s, s_next = float(sigmas[i]), float(sigmas[i + 1])
        passes = 2 if i < repeated_steps else 1
        for k in range(passes):
            derivative = (x - toy_denoiser(x, sigmas[i])) / s
            x_next = x + derivative * (s_next - s)
            if passes == 2 and k == 0:
                x = x_next + noise() * (s**2 - s_next**2) ** 0.5
        x = x_next
    return x


@settings(max_examples=40)
@given(st.integers(0, 6), st.integers(0, 100))
def test_equals_the_written_out_algorithm(repeated_steps, seed):
    latents = SeededNoise([seed], (4, 2, 3))() * 10
    ours = sample_euler(toy_denoiser, latents, SIGMAS, repeated_steps, fresh(SeededNoise([seed + 1], (4, 2, 3))))
    expected = naive_sampling(latents, SIGMAS, repeated_steps, SeededNoise([seed + 1], (4, 2, 3)))
    assert torch.allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("repeated_steps", [0, 3])
def test_one_draw_per_repeated_step(repeated_steps):
    noise = Mock(return_value=torch.zeros(1, 1, 1, 1))
    sample_euler(toy_denoiser, torch.zeros(1, 1, 1, 1), SIGMAS, repeated_steps, fresh(noise))
    assert noise.call_count == repeated_steps


def test_steps_on_which_the_noise_does_not_fall_are_done_once():
    """Rising or equal noise levels, as some schedulers have them: there is no noise to add."""
    sigmas = torch.tensor([2.0, 5.0, 5.0, 1.0, 0.0])
    noise = Mock(return_value=torch.zeros(1, 1, 1, 1))
    seen: list[StepInfo] = []
    out = sample_euler(toy_denoiser, torch.ones(1, 1, 1, 1), sigmas, 4, fresh(noise), seen.append)
    assert torch.isfinite(out).all()
    assert [info.repeated for info in seen] == [False, False, True, True]
    assert noise.call_count == 2


def zeros() -> torch.Tensor:
    return torch.zeros(1, 1, 1, 1)


def test_last_step_ends_at_the_denoised_picture():
    out = sample_euler(lambda x, sigma: torch.full_like(x, 7.0), zeros() + 1, SIGMAS, 4, fresh(zeros))
    assert float(out) == pytest.approx(7.0)


def test_callback_sees_every_outer_step():
    seen: list[StepInfo] = []
    out = sample_euler(
        toy_denoiser, torch.ones(2, 1, 1, 1), SIGMAS, 2, fresh(lambda: torch.zeros(2, 1, 1, 1)), callback=seen.append
    )
    assert [(info.step, info.steps, info.repeated, info.sigma) for info in seen] == [
        (0, 4, True, 10.0),
        (1, 4, True, 5.0),
        (2, 4, False, 2.0),
        (3, 4, False, 1.0),
    ]
    assert torch.equal(seen[-1].latents, out)


def test_callback_cancels():
    with pytest.raises(Cancelled, match="stopped after step 2 of 4"):
        sample_euler(toy_denoiser, torch.ones(1, 1, 1, 1), SIGMAS, callback=lambda info: info.step < 1)


def test_seeds_give_each_image_what_it_gets_alone():
    together = SeededNoise([3, 4, 5], (4, 6, 5))
    alone = [SeededNoise([seed], (4, 6, 5)) for seed in (3, 4, 5)]
    for _ in range(3):
        assert torch.equal(together(), torch.cat([noise() for noise in alone]))


def test_noise_follows_the_published_order():
    """One generator: a draw for the latents, then one per guided step."""
    generator = torch.Generator().manual_seed(11)
    noise = SeededNoise([11], (4, 6, 5))
    for _ in range(4):
        assert torch.equal(noise(), torch.randn((1, 4, 6, 5), generator=generator))


def test_euler_step_moves_along_the_derivative():
    x, denoised = torch.tensor([4.0]), torch.tensor([1.0])
    assert float(euler_step(x, denoised, torch.tensor(3.0), torch.tensor(2.0))) == pytest.approx(3.0)
    assert float(euler_step(x, denoised, torch.tensor(3.0), torch.tensor(0.0))) == pytest.approx(1.0)
