"""Euler sampling in σ space with self-recurrence on the guided steps (Cones 2, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import Cancelled


class Denoiser(Protocol):
    """Predicts clean latents: (x [B, C, h, w] at noise level σ, index of the step, layout guided?) → x0."""

    def __call__(self, x: Tensor, step: int, guided: bool) -> Tensor: ...


class StepInfo(NamedTuple):
    """What a callback learns after each outer step. latents: [B, C, h, w] after the step."""

    step: int
    steps: int
    guided: bool
    sigma: float
    latents: Tensor


Callback = Callable[[StepInfo], bool | None]


class SeededNoise:
    """Unit normal noise [B, *shape] from one CPU generator per image, so that an image of a batch
    equals the same seed alone, on every device."""

    def __init__(self, seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = tuple(shape)
        self._device = device

    def __call__(self) -> Tensor:
        draws = [torch.randn(self._shape, generator=generator) for generator in self._generators]
        return torch.stack(draws).to(self._device)


def euler_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One Euler step of the probability-flow ODE from σ to σ_next."""
    return x + (x - denoised) / sigma * (sigma_next - sigma)


def sample_euler(
    denoise: Denoiser,
    latents: Tensor,
    sigmas: Tensor,
    guided_steps: int,
    noise: Callable[[], Tensor],
    recurrence: bool = True,
    callback: Callback | None = None,
) -> Tensor:
    """Latents after all steps.

    latents: [B, C, h, w], already scaled to sigmas[0]. sigmas: float32 [steps + 1]. The first
    `guided_steps` steps are guided; with recurrence each of them is done, noised back to its
    start with `noise()` (one draw per step), and done again. A callback that returns False
    cancels: Cancelled is raised.
    """
    steps = len(sigmas) - 1
    sigmas = sigmas.to(latents.device)
    x = latents
    for step in range(steps):
        sigma, sigma_next = sigmas[step], sigmas[step + 1]
        guided = step < guided_steps
        x_next = euler_step(x, denoise(x, step, guided), sigma, sigma_next)
        if guided and recurrence:
            x = x_next + noise() * (sigma**2 - sigma_next**2).sqrt()
            x_next = euler_step(x, denoise(x, step, guided), sigma, sigma_next)
        x = x_next
        if callback is not None and callback(StepInfo(step, steps, guided, float(sigma), x)) is False:
            raise Cancelled(f"stopped after step {step + 1} of {steps}")
    return x
