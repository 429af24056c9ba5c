"""The denoising objective: noisy latents, targets, masked error, drift of the conditioning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.terms import AttentionPass, AttentionTerm
from ..prompt.conditioning import Conditioning
from .model import TrainingModel


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch of equal-sized latents.

    latents, noise: [B, C, h, w].
    timesteps: int64 [B].
    captions: indices of the captions, B long.
    masks: where the error counts, [B, 1, h, w] in 0 … 1; None: everywhere.
    time_ids: SDXL's picture sizes [B, 6], or None.
    terms: what changes the attention of the samples; none for plain attention.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    captions: tuple[int, ...]
    masks: Tensor | None = None
    time_ids: Tensor | None = None
    terms: tuple[AttentionTerm, ...] = ()


def masked_mse(difference: Tensor, masks: Tensor | None = None) -> Tensor:
    """Mean over the batch of each sample's mean squared error, inside its mask: [] from [B, C, h, w]."""
    squared = difference.float().square()
    if masks is None:
        return squared.mean()
    weights = masks.expand_as(squared)
    return (squared * weights).sum((1, 2, 3)).div(weights.sum((1, 2, 3)).clamp(min=1e-8)).mean()


def denoising_error(model: TrainingModel, batch: Batch, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
    """The masked error of the model's prediction, and the prediction [B, C, h, w]."""
    noisy = model.noise.noisy(batch.latents, batch.noise, batch.timesteps)
    target = model.noise.target(batch.latents, batch.noise, batch.timesteps)
    prediction = model.predict(noisy, batch.timesteps, conditioning, batch.time_ids, *_attention(model, batch))
    return masked_mse(prediction.float() - target, batch.masks), prediction


def _attention(model: TrainingModel, batch: Batch) -> tuple[AttentionPass, ...]:
    """What the attention layers are told: the batch's terms, each sample's at its own noise level."""
    if not batch.terms:
        return ()
    return (AttentionPass(batch.terms, model.noise.growth(model.noise.sigmas(batch.timesteps))),)


def drift(tuned: Tensor, frozen: Tensor, subject_tokens: int) -> tuple[Tensor, Tensor]:
    """How far tuning moved a bare prompt's conditioning [L, d] away from its subject (section 3.1).

    Returns the L2 norms of the difference at the start token and at the tokens after the subject.
    """
    moved = tuned - frozen
    return torch.linalg.vector_norm(moved[:1]), torch.linalg.vector_norm(moved[1 + subject_tokens :])
