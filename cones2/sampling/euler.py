"""Euler sampling in σ space with self-recurrence (Cones 2, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import Cancelled

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(latents x [B, C, h, w] at noise level σ, σ []) → clean latents [B, C, h, w]."""

Renoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents at σ_next, σ, σ_next) → latents at the higher σ, with noise of its own for each call."""


class StepInfo(NamedTuple):
    """What a callback learns after each step.

    step: from 0. steps: of the whole run. repeated: whether the step was done twice.
    sigma: noise level at its start. latents: [B, C, h, w] at its end.
    """

    step: int
    steps: int
    repeated: bool
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
    """One Euler step of the probability-flow ODE from σ to σ_next (Karras et al. 2022, algorithm 1)."""
    return x + (x - denoised) / sigma * (sigma_next - sigma)


def sample_euler(
    denoise: Denoiser,
    latents: Tensor,
    sigmas: Tensor,
    repeated_steps: int = 0,
    renoise: Renoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Latents [B, C, h, w] after all steps.

    latents: [B, C, h, w], already scaled to sigmas[0].
    sigmas: float32 [steps + 1].
    repeated_steps: so many steps, from the first on, are done, noised back to their start, and
    done again. A step on which σ does not fall is never repeated.
    renoise: how they are noised; None repeats no step.
    callback: called after each step; when it returns False, Cancelled is raised.
    """
    steps = len(sigmas) - 1
    sigmas = sigmas.to(latents.device)
    x = latents
    for step in range(steps):
        sigma, sigma_next = sigmas[step], sigmas[step + 1]
        repeated = renoise is not None and step < repeated_steps and bool(sigma_next < sigma)
        if renoise is not None and repeated:
            first = euler_step(x, denoise(x, sigma), sigma, sigma_next)
            x = renoise(first, sigma, sigma_next)
        x = euler_step(x, denoise(x, sigma), sigma, sigma_next)
        if callback is not None and callback(StepInfo(step, steps, repeated, float(sigma), x)) is False:
            raise Cancelled(f"stopped after step {step + 1} of {steps}")
    return x
