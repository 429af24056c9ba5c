"""Classifier-free guidance with attention terms on the positive half, both halves in one forward pass."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..prompt.conditioning import Conditioning
from ..sampling.noise import Noise
from ..sampling.schedule import Schedule
from ..sampling.settings import SamplingSettings
from ..scene import Scene
from .attention import ForwardState


class Network(Protocol):
    """What predicts: a UNet and how it was trained."""

    @property
    def noise(self) -> Noise:
        """What its output is."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it is."""
        ...

    @property
    def is_xl(self) -> bool:
        """Whether it is also told pooled text and picture sizes, as SDXL's."""
        ...

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, time_ids: Tensor | None = None
    ) -> Tensor:
        """Its raw output [B, 4, h, w]."""
        ...


class GuidedDenoiser:
    """(x [B, 4, h, w] at noise level σ, σ) → clean latents, of one sampling run.

    halves: the conditionings of one forward pass, see `halves_of`.
    state: what the UNet's cross-attention layers read during the run.
    """

    def __init__(
        self,
        model: Network,
        scene: Scene,
        settings: SamplingSettings,
        halves: tuple[Conditioning, ...],
        schedule: Schedule,
        state: ForwardState,
    ) -> None:
        self._halves = len(halves)
        self._conditioning = _batch(halves, len(settings.seeds))
        self._time_ids = _time_ids(settings, self._conditioning) if model.is_xl else None
        self._model, self._scene, self._settings, self._schedule = model, scene, settings, schedule
        self._sigma_max = schedule.sigmas[0].to(model.device)
        self._growth_sigmas = scene.rules.guidance_sigmas(model.noise, schedule, settings.guided_count)
        self._state = state

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean latents [B, 4, h, w]."""
        noise = self._model.noise
        self._set_terms(float(sigma))
        timestep = torch.tensor(self._schedule.timestep(float(sigma)), dtype=torch.float32, device=x.device)
        noisy = noise.network_input(x.repeat(self._halves, 1, 1, 1), sigma)
        output = self._model.predict(noisy, timestep, self._conditioning, self._time_ids).to(x.dtype)
        if self._halves == 2:
            negative, positive = output.chunk(2)
            scale = self._scene.rules.guidance_scale(self._settings, sigma, self._sigma_max)
            output = negative + scale * (positive - negative)
        return noise.denoised(x, sigma, output)

    def _set_terms(self, sigma: float) -> None:
        """The terms act in the first steps of the run, each at the noise level that the rules give it."""
        step = int(self._schedule.position(sigma))
        guided = step < self._settings.guided_count
        self._state.terms = self._scene.terms if guided else ()
        if guided:
            self._state.growth = self._model.noise.growth(float(self._growth_sigmas[step]))


def halves_of(scene: Scene, settings: SamplingSettings) -> tuple[Conditioning, ...]:
    """Negative and positive conditioning; the positive one alone where classifier-free guidance changes nothing."""
    if settings.cfg != 1 or settings.dynamic_cfg or scene.rules.scales_cfg:
        return scene.negative, scene.positive
    return (scene.positive,)


def _batch(halves: tuple[Conditioning, ...], images: int) -> Conditioning:
    embeds = torch.cat([half.embeds.expand(images, -1, -1) for half in halves])
    pooled = [half.pooled.expand(images, -1) for half in halves if half.pooled is not None]
    return Conditioning(embeds, torch.cat(pooled) if pooled else None)


def _time_ids(settings: SamplingSettings, conditioning: Conditioning) -> Tensor:
    """SDXL's picture sizes [B, 6]: a picture of this size, nothing cut off."""
    size = (settings.height, settings.width)
    ids = torch.tensor([*size, 0, 0, *size], dtype=torch.float32, device=conditioning.embeds.device)
    return ids.expand(len(conditioning.embeds), -1)
