"""How a model's training mixed clean latents with noise, and what its network predicts of them.

σ is the noise level in units of the latents' standard deviation: x = latents + σ · noise. The training
states of diffusion models are these latents scaled to unit variance: √ᾱ · latents + √(1 − ᾱ) · noise,
with σ² = (1 − ᾱ) / ᾱ (Karras et al. 2022, arXiv 2206.00364, appendix C.3).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from .schedule import Schedule, linear_schedule, schedule_over

Prediction = Literal["epsilon", "v_prediction"]


@overload
def log_growth(sigma: Tensor) -> Tensor: ...


@overload
def log_growth(sigma: float) -> float: ...


def log_growth(sigma: float | Tensor) -> float | Tensor:
    """How much layout guidance counts at noise level σ: log(1 + σ²) (Cones 2, equation 6)."""
    return torch.log1p(sigma**2) if isinstance(sigma, Tensor) else math.log1p(sigma**2)


def renoise(x: Tensor, noise: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Latents at σ_next taken back to the higher σ with fresh unit noise (Cones 2, algorithm 1)."""
    return x + noise * (sigma**2 - sigma_next**2).sqrt()


LARGEST_SIGMA = 14.6146
"""Stable Diffusion's noise level at pure noise, for which the numbers of layout guidance were found."""


def flow_sigma(level: Tensor) -> Tensor:
    """σ of flow matching's latents (1 − t) · latents + t · noise at t: the ratio t / (1 − t), at most LARGEST_SIGMA.

    Divided by 1 − t they are latents + σ · noise. At t = 1 the ratio is endless, but no more is known of the picture
    at Stable Diffusion's first noise level either. level: t, 0–1.
    """
    level = level.float()
    return (level / (1 - level).clamp_min(torch.finfo(torch.float32).tiny)).clamp_max(LARGEST_SIGMA)


def flow_renoise(x: Tensor, noise: Tensor, level: Tensor, level_next: Tensor) -> Tensor:
    """Flow-matching latents at t_next taken back to the higher t with fresh unit noise.

    x_t = (1 − t) · latents + t · noise has mean (1 − t) · latents and variance t² (Lipman et al. 2023, arXiv
    2210.02747, equation 20, with time reversed). Scaling x_s by a = (1 − t) / (1 − s) gives its mean; noise of variance
    t² − a² s² adds what the variance lacks. In units of σ = t / (1 − t) it is `renoise`. At t = 1 nothing of x is left.
    """
    kept = (1 - level) / (1 - level_next)
    return kept * x + (level**2 - (kept * level_next) ** 2).clamp_min(0).sqrt() * noise


class Noise(ABC):
    """The noise of a model: what its training mixed with latents at each of its timesteps, and what it predicts."""

    @property
    @abstractmethod
    def train_steps(self) -> int:
        """T, the number of training timesteps."""

    @abstractmethod
    def schedule(self, steps: int) -> Schedule:
        """The noise levels of a sampling run of so many steps. Raises Cones2Error for fewer than one."""

    @abstractmethod
    def sigmas(self, timesteps: Tensor) -> Tensor:
        """The noise levels σ of training timesteps: float32 [B] from int64 [B]."""

    def growth(self, sigma: float | Tensor) -> float | Tensor:
        """How much layout guidance counts at noise level σ."""
        return log_growth(sigma)

    @abstractmethod
    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network saw in training. timesteps: int64 [B]."""

    @abstractmethod
    def network_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Latents at noise level σ scaled to what the network saw in training."""

    def renoise(self, x: Tensor, noise: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Latents at σ_next taken back to the higher σ with fresh unit noise."""
        return renoise(x, noise, sigma, sigma_next)

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict of `noisy(latents, noise, timesteps)`."""

    @abstractmethod
    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """Clean latents from the network's output at noise level σ."""


@dataclass(frozen=True, eq=False)
class DiffusionNoise(Noise):
    """The noise of a diffusion model: its training states have unit variance.

    alphas_cumprod: ᾱ of the training schedule, float32 [T].
    """

    alphas_cumprod: Tensor

    @property
    @abstractmethod
    def prediction(self) -> Prediction:
        """What the network predicts, in diffusers' words."""

    @property
    def train_steps(self) -> int:
        return len(self.alphas_cumprod)

    def schedule(self, steps: int) -> Schedule:
        return linear_schedule(self.alphas_cumprod, steps)

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """σ = √((1 − ᾱ) / ᾱ)."""
        alphas = self.alphas_cumprod.to(timesteps.device, torch.float32)[timesteps]
        return ((1 - alphas) / alphas).sqrt()

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """√ᾱ · latents + √(1 − ᾱ) · noise."""
        signal, spread = self._scales(timesteps, latents)
        return signal * latents + spread * noise

    def network_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x / (sigma**2 + 1) ** 0.5

    def _scales(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod.to(like.device, torch.float32)[timesteps].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()


class EpsilonNoise(DiffusionNoise):
    """The network predicts the noise."""

    @property
    def prediction(self) -> Prediction:
        return "epsilon"

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        return x - sigma * output


class VelocityNoise(DiffusionNoise):
    """The network predicts the velocity √ᾱ · noise − √(1 − ᾱ) · latents (arXiv 2202.00512)."""

    @property
    def prediction(self) -> Prediction:
        return "v_prediction"

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        signal, spread = self._scales(timesteps, latents)
        return signal * noise - spread * latents

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        return output * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


@dataclass(frozen=True, eq=False)
class FlowNoise(Noise):
    """Flow matching: latents (1 − t) · latents + t · noise, of which the network predicts the velocity noise − latents.

    Lipman et al. 2023, arXiv 2210.02747, equation 23 with time reversed. A training timestep is an index into the
    model's own schedule, so timesteps drawn evenly are noise levels as that schedule has them, with its shift.
    levels: t of that schedule, 0–1, rising, float32 [T].
    """

    levels: Tensor

    @property
    def train_steps(self) -> int:
        return len(self.levels)

    def schedule(self, steps: int) -> Schedule:
        """At t = 1 σ is endless: it starts at t = 0.999."""
        levels = self.levels.cpu().double().clamp(max=0.999)
        return schedule_over(levels / (1 - levels), steps)

    def level(self, timesteps: Tensor) -> Tensor:
        """t of training timesteps, which may lie between two of the schedule: float32 [B], on their device."""
        levels, places = self.levels.cpu().float(), timesteps.cpu().double()  # Apple's GPUs have no float64
        below = places.floor().long().clamp(0, len(levels) - 1)
        above = (below + 1).clamp(max=len(levels) - 1)
        between = torch.lerp(levels[below], levels[above], (places - below).clamp(0, 1).float())
        return between.to(timesteps.device)

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """See `flow_sigma`."""
        return flow_sigma(self.level(timesteps))

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        level = self.level(timesteps).to(latents).view(-1, 1, 1, 1)
        return (1 - level) * latents + level * noise

    def network_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - latents

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        return (x - sigma * output) / (1 + sigma)


def make_noise(prediction: str, alphas_cumprod: Tensor) -> DiffusionNoise:
    """The noise of a model that predicts "epsilon" or "v_prediction"; raises KeyError for anything else."""
    return {"epsilon": EpsilonNoise, "v_prediction": VelocityNoise}[prediction](alphas_cumprod)
