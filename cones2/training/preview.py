"""A quick look at what a residual does, through the training callables alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .methods import ResidualMethod
from .model import Conditioning


@torch.no_grad()
def preview_latents(
    method: ResidualMethod,
    plain: Conditioning,
    size: Tensor,
    shape: tuple[int, int, int],
    steps: int = 12,
    cfg: float = 5.0,
) -> Tensor:
    """Latents [1, C, h, w] of the first caption with the residual so far, by DDIM without noise.

    plain: conditioning of the empty prompt [1, L, d]. size: time ids [6]. The starting noise is fixed.
    """
    model = method.model
    conditioning = method.with_residual(method.residual(), [0])
    noise = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    latents, sizes = noise.to(model.device), size[None].to(model.device)
    timesteps = torch.linspace(len(model.alphas_cumprod) - 1, 0, steps).round().long().tolist()
    for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        time = torch.tensor([timestep], device=model.device)
        negative = model.predict(latents, time, plain, sizes).float()
        output = negative + cfg * (model.predict(latents, time, conditioning, sizes).float() - negative)
        clean, spread = _split(model.prediction_type, model.alphas_cumprod[timestep], latents, output)
        alpha = model.alphas_cumprod[following] if following is not None else torch.tensor(1.0)
        latents = alpha.sqrt().to(clean) * clean + (1 - alpha).sqrt().to(clean) * spread
    return latents


def _split(prediction_type: str, alpha: Tensor, latents: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """(clean latents, noise) that the output stands for."""
    signal, noise = alpha.sqrt().to(latents), (1 - alpha).sqrt().to(latents)
    if prediction_type == "epsilon":
        return (latents - noise * output) / signal, output
    return signal * latents - noise * output, signal * output + noise * latents
