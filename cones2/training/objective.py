"""The denoising objective: noisy latents, targets, masked error, drift of the conditioning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .model import Conditioning, TrainingModel


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch of equal-sized latents.

    latents, noise: [B, C, h, w]. timesteps: int64 [B]. captions: indices of the captions, B long.
    masks: [B, 1, h, w] in 0 … 1, where the error counts; None: everywhere. sizes: [B, 6] or None.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    captions: tuple[int, ...]
    masks: Tensor | None = None
    sizes: Tensor | None = None


def noisy_latents(alphas_cumprod: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """√ᾱ · latents + √(1 − ᾱ) · noise."""
    signal, spread = _scales(alphas_cumprod, timesteps, latents)
    return signal * latents + spread * noise


def target(
    prediction_type: Literal["epsilon", "v_prediction"],
    alphas_cumprod: Tensor,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
) -> Tensor:
    """What the network should predict: the noise, or the velocity √ᾱ · noise − √(1 − ᾱ) · latents."""
    if prediction_type == "epsilon":
        return noise
    signal, spread = _scales(alphas_cumprod, timesteps, latents)
    return signal * noise - spread * latents


def masked_mse(difference: Tensor, masks: Tensor | None = None) -> Tensor:
    """Mean over the batch of each sample's mean squared error, inside its mask: [] from [B, C, h, w]."""
    squared = difference.float().square()
    if masks is None:
        return squared.mean()
    weights = masks.expand_as(squared)
    return (squared * weights).sum((1, 2, 3)).div(weights.sum((1, 2, 3)).clamp(min=1e-8)).mean()


def denoising_error(model: TrainingModel, batch: Batch, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
    """The masked error of the model's prediction, and the prediction [B, C, h, w]."""
    noisy = noisy_latents(model.alphas_cumprod, batch.latents, batch.noise, batch.timesteps)
    wanted = target(model.prediction_type, model.alphas_cumprod, batch.latents, batch.noise, batch.timesteps)
    prediction = model.predict(noisy, batch.timesteps, conditioning, batch.sizes)
    return masked_mse(prediction.float() - wanted, batch.masks), prediction


def drift(tuned: Tensor, frozen: Tensor, subject_tokens: int) -> tuple[Tensor, Tensor]:
    """How far tuning moved a bare prompt's conditioning [L, d] off its subject (section 3.1).

    Returns the L2 norms of the difference in row 0 and in the rows after the subject.
    """
    moved = tuned - frozen
    return torch.linalg.vector_norm(moved[:1]), torch.linalg.vector_norm(moved[1 + subject_tokens :])


def _scales(alphas_cumprod: Tensor, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    alphas = alphas_cumprod.to(like.device, torch.float32)[timesteps].view(-1, 1, 1, 1)
    return alphas.sqrt(), (1 - alphas).sqrt()
