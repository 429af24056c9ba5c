"""Noise levels: σ of the training schedule at the fractional timesteps of a sampling run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import Cones2Error


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise levels of a sampling run.

    timesteps: of the training schedule, float64 [n], falling, fractional.
    sigmas: float32 [n + 1], in units of the latents' standard deviation, ending in 0.
    """

    timesteps: Tensor
    sigmas: Tensor

    @property
    def steps(self) -> int:
        """Number of steps n."""
        return len(self.timesteps)

    def position(self, sigma: float) -> float:
        """Where a noise level lies in the run: i at sigmas[i], a fraction between two of them."""
        return self._interpolated(sigma, np.arange(self.steps))

    def timestep(self, sigma: float) -> float:
        """The timestep of a noise level; exactly timesteps[i] at sigmas[i]."""
        return self._interpolated(sigma, self.timesteps.numpy())

    def _interpolated(self, sigma: float, values: NDArray[Any]) -> float:
        rising = self.sigmas[:-1].double().flip(0).numpy()
        return float(np.interp(sigma, rising, values[::-1]))


def scaled_linear_alphas(beta_start: float = 0.00085, beta_end: float = 0.012, steps: int = 1000) -> Tensor:
    """Cumulative products ᾱ of Stable Diffusion's training schedule: float32 [steps]."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def linear_schedule(alphas_cumprod: Tensor, steps: int) -> Schedule:
    """`steps` timesteps evenly spaced over the whole training range, σ interpolated between them.

    alphas_cumprod: ᾱ [training steps]. Raises Cones2Error for fewer than one step.
    """
    return schedule_over(((1 - alphas_cumprod) / alphas_cumprod) ** 0.5, steps)


def schedule_over(trained_sigmas: Tensor, steps: int) -> Schedule:
    """As `linear_schedule`, of the σ of all training timesteps, float32 [training steps], rising."""
    if steps < 1:
        raise Cones2Error(f"{steps} sampling steps: at least 1 is needed")
    trained = trained_sigmas.double().numpy()
    last = len(trained) - 1
    timesteps = np.linspace(0, last, steps)[::-1].copy() if steps > 1 else np.array([float(last)])
    sigmas = np.append(np.interp(timesteps, np.arange(len(trained)), trained), 0.0).astype(np.float32)
    return Schedule(torch.from_numpy(timesteps), torch.from_numpy(sigmas))
