"""Starts other than noise: the photos' cut-outs in the noise, and a noised collage.

Cut-outs in the noise are mean-shifted noise (MuDI, arXiv 2404.04243): x = σ_max · ε + strength · z inside the
cut-outs, where z are the latents of a gray picture that holds them. A collage is what a user would try
without any of this: the cut-outs pasted on a picture of the background, noised and sampled from there
(SDEdit, arXiv 2108.01073): x = σ_k · ε + z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusers_models.attention import ForwardState, guided_unet
from ..diffusers_models.guided_denoiser import GuidedDenoiser, halves_of
from ..diffusers_models.latent_model import DiffusersModel
from ..layout.grid import coverage
from ..sampling.euler import SeededNoise, sample_euler
from ..sampling.settings import SamplingSettings
from ..scene import Scene
from .cases import bounds

_LEAST = 6  # pixels of a pasted cut-out's side


@dataclass(frozen=True, eq=False)
class CutOut:
    """A subject cut out of a photo. picture: [3, H, W] in [0, 1]. mask: bool [H, W], not empty."""

    picture: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Start:
    """Where sampling begins: `latents` [B, C, h, w] plus noise of the level at `first_step`."""

    latents: Tensor
    first_step: int = 0


def collage(background: Tensor, cutouts: Sequence[tuple[CutOut, Tensor]]) -> tuple[Tensor, Tensor]:
    """A picture [3, H, W] with each cut-out as large as its region (a mask [H, W]) allows, in its middle.

    Second: how much of each pixel the cut-outs cover, [H, W] in 0–1.
    """
    picture, covered = background.clone(), torch.zeros(background.shape[1:])
    for cutout, region in cutouts:
        thing, alpha, rows, columns = _scaled(cutout, region)
        picture[:, rows, columns] = picture[:, rows, columns] * (1 - alpha) + thing * alpha
        covered[rows, columns] = torch.maximum(covered[rows, columns], alpha)
    return picture, covered


def _scaled(cutout: CutOut, region: Tensor) -> tuple[Tensor, Tensor, slice, slice]:
    """The cut-out and its mask at the size of its region's bounds, and where they go."""
    top, left, bottom, right = bounds(cutout.mask)
    row, column, end_row, end_column = bounds(region)
    scale = min((end_row - row) / (bottom - top), (end_column - column) / (right - left))
    height, width = (max(_LEAST, round(side * scale)) for side in (bottom - top, right - left))
    layers = torch.cat([cutout.picture, cutout.mask[None].float()])[None, :, top:bottom, left:right]
    scaled = F.interpolate(layers, (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
    limits = region.shape
    first_row = min(max(row + (end_row - row - height) // 2, 0), limits[0] - height)
    first_column = min(max(column + (end_column - column - width) // 2, 0), limits[1] - width)
    return scaled[:3], scaled[3], slice(first_row, first_row + height), slice(first_column, first_column + width)


def shifted(model: DiffusersModel, pictures: Tensor, covered: Tensor, strength: float) -> Start:
    """A start from noise that holds the cut-outs of pictures [B, 3, H, W]. covered: [B, H, W], see `collage`."""
    latents = encoded(model, pictures)
    cells = torch.stack([coverage(mask > 0.5, *latents.shape[-2:]) > 0.5 for mask in covered])
    return Start(strength * latents * cells[:, None].to(latents))


@torch.inference_mode()
def encoded(model: DiffusersModel, pictures: Tensor) -> Tensor:
    """Latents [B, C, h, w] of pictures [B, 3, H, W] in [0, 1]: the mean of the autoencoder's posterior."""
    vae: Any = model.vae
    distribution = vae.encode(pictures.to(vae.device, vae.dtype) * 2 - 1).latent_dist
    latents: Tensor = distribution.mean * vae.config.scaling_factor
    return latents


@torch.inference_mode()
def sample_from(model: DiffusersModel, scene: Scene, settings: SamplingSettings, start: Start) -> Tensor:
    """Latents [B, C, h, w] of a scene from a start; with latents of zero at step 0 what `model.sample` gives."""
    schedule = model.noise.schedule(settings.steps)
    draw = SeededNoise(settings.seeds, start.latents.shape[1:], model.device)
    sigmas = schedule.sigmas[start.first_step :]
    repeated = max(settings.guided_count - start.first_step, 0) if settings.recurrence else 0
    halves = halves_of(scene, settings)
    state = ForwardState(positive=slice(len(settings.seeds) * (len(halves) - 1), None))
    with guided_unet(model.unet, state):
        denoise = GuidedDenoiser(model, scene, settings, halves, schedule, state)
        renoise = lambda x, sigma, lower: model.noise.renoise(x, draw(), sigma, lower)  # noqa: E731
        noisy = draw() * (sigmas[0] ** 2).sqrt() + start.latents
        return sample_euler(denoise, noisy, sigmas, repeated, renoise)
