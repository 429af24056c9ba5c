"""A model of diffusers components as training sees it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..prompt.conditioning import Conditioning
from ..training.config import MethodName
from ..training.model import Posterior, TrainingModel
from .latent_model import DiffusersModel


def training_model(model: DiffusersModel, method: MethodName, checkpointing: bool = False) -> TrainingModel:
    """The model's callables. The paper method tunes a float32 copy of the text encoders.

    checkpointing: recompute the UNet's activations in the backward pass instead of keeping them.
    """
    text = model.text
    if method == "paper":
        text = replace(text, encoders=copy.deepcopy(text.encoders).float())
    if checkpointing:
        model.unet.enable_gradient_checkpointing()

    def encode_image(pixels: Tensor) -> Posterior:
        encoded = model.vae.encode(pixels.to(model.vae.device, model.vae.dtype))
        scale = float(model.vae.config.scaling_factor)
        if hasattr(encoded, "latents"):  # AutoencoderTiny has no posterior
            return Posterior(encoded.latents * scale, torch.zeros_like(encoded.latents))
        return Posterior(encoded.latent_dist.mean * scale, encoded.latent_dist.std * scale)

    return TrainingModel(
        prompt_tokens=text.prompt_tokens,
        tokenize=text.tokenize,
        encode_text=text.encode,
        predict=model.predict,
        encode_image=encode_image,
        noise=model.noise,
        width=model.width,
        text_weights=_reached(text.encoders, text.encode) if method == "paper" else {},
        device=model.device,
        vae_scale_factor=model.vae_scale_factor,
        size_multiple=model.size_multiple,
    )


def _reached(encoders: nn.Module, encode: Callable[[Sequence[str]], Conditioning]) -> dict[str, Tensor]:
    """The weights that the embeddings depend on.

    SDXL reads the penultimate layer, so the last one gets no gradient and must be left out: DDP would
    hang waiting for it.
    """
    weights = dict(encoders.requires_grad_(True).named_parameters())
    with torch.enable_grad():
        total = encode([""]).embeds.sum()
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    encoders.requires_grad_(False)
    return {
        name: weight
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        if gradient is not None
    }
