"""A quick look at what was learned so far, through the training callables alone."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..prompt.conditioning import Conditioning
from ..sampling.euler import SeededNoise, sample_euler
from .model import TrainingModel


class Previewed(Protocol):
    """A learning method of which previews can be drawn."""

    model: TrainingModel

    def shown(self) -> Conditioning:
        """The prompt of a preview as what was learned so far encodes it: [1, L, d]."""


@torch.no_grad()
def preview_latents(
    method: Previewed,
    plain: Conditioning,
    time_ids: Tensor,
    shape: tuple[int, int, int],
    steps: int = 12,
    cfg: float = 5.0,
) -> Tensor:
    """Latents [1, C, h, w] of the method's prompt as learned so far, always from the same noise.

    plain: conditioning of the empty prompt. time_ids: SDXL's picture sizes [6].
    """
    model = method.model
    conditioning = method.shown()
    sizes = time_ids[None].to(model.device)
    schedule, noise = model.noise.schedule(steps), SeededNoise([0], shape, model.device)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        timestep = torch.tensor([schedule.timestep(float(sigma))], device=x.device)
        noisy = model.noise.network_input(x, sigma)
        negative = model.predict(noisy, timestep, plain, sizes).float()
        positive = model.predict(noisy, timestep, conditioning, sizes).float()
        return model.noise.denoised(x, sigma, negative + cfg * (positive - negative))

    return sample_euler(denoise, noise() * float(schedule.sigmas[0]), schedule.sigmas)
