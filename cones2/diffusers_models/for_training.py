"""A Stable Diffusion 1.x, 2.x or SDXL model of diffusers components as training sees it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..training.config import MethodName
from ..training.model import Conditioning, Posterior, TrainingModel
from .latent_model import StableDiffusion
from .sdxl import StableDiffusionXL
from .text import prompt_tokens


def training_model(model: StableDiffusion, method: MethodName, checkpointing: bool = False) -> TrainingModel:
    """The model's callables. The paper method tunes a float32 copy of the text encoder.

    checkpointing: recompute the UNet's activations in the backward pass instead of keeping them.
    """
    text_encoder = model.text_encoder
    if method == "paper":
        text_encoder = copy.deepcopy(text_encoder).float()
    if checkpointing:
        model.unet.enable_gradient_checkpointing()

    def encode_text(prompts: Sequence[str]) -> Conditioning:
        ids = torch.cat([prompt_tokens(model.tokenizer, prompt)[1] for prompt in prompts])
        return Conditioning(text_encoder(ids.to(model.device)).last_hidden_state)

    def predict(noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, sizes: Tensor | None) -> Tensor:
        pooled = conditioning.pooled
        added = model.added(pooled, sizes) if isinstance(model, StableDiffusionXL) and pooled is not None else {}
        rows = conditioning.rows.to(model.dtype)
        return model.unet(noisy.to(model.dtype), timesteps, encoder_hidden_states=rows, **added).sample  # type: ignore[no-any-return]

    def encode_image(pixels: Tensor) -> Posterior:
        encoded = model.vae.encode(pixels.to(model.vae.device, model.vae.dtype))
        scale = float(model.vae.config.scaling_factor)
        if hasattr(encoded, "latents"):  # AutoencoderTiny has no posterior
            return Posterior(encoded.latents * scale, torch.zeros_like(encoded.latents))
        return Posterior(encoded.latent_dist.mean * scale, encoded.latent_dist.std * scale)

    tokenizer = model.tokenizer[0] if isinstance(model, StableDiffusionXL) else model.tokenizer
    encode = model.text_function(text_encoder) if isinstance(model, StableDiffusionXL) else encode_text
    levels = len(model.unet.config.block_out_channels) - 1
    return TrainingModel(
        prompt_tokens=lambda prompt: prompt_tokens(tokenizer, prompt)[0],
        tokenize=model.tokenize,
        encode_text=encode,
        predict=predict,
        encode_image=encode_image,
        alphas_cumprod=model.alphas_cumprod,
        prediction_type=model.prediction_type,
        width=model.width,
        text_weights=_reached(text_encoder, encode) if method == "paper" else {},
        device=model.device,
        factor=model.vae_factor,
        multiple=model.vae_factor * 2**levels,
    )


def _reached(encoder: nn.Module, encode: Callable[[Sequence[str]], Conditioning]) -> dict[str, Tensor]:
    """The weights that the rows depend on; SDXL reads them before the last layer, which must not be tuned then.

    Weights without a gradient would make several processes wait for each other forever.
    """
    weights = dict(encoder.requires_grad_(True).named_parameters())
    with torch.enable_grad():
        total = encode([""]).rows.sum()
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    encoder.requires_grad_(False)
    return {
        name: weight
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        if gradient is not None
    }
