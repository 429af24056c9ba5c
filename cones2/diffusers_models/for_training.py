"""A model of diffusers components as training sees it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import ModelError
from ..guidance.terms import AttentionPass
from ..prompt.conditioning import Conditioning
from ..training.config import MethodName
from ..training.model import Posterior, TrainingModel
from .attention import ForwardState, GuidedLayers
from .latent_model import DiffusersModel


def training_model(model: DiffusersModel, method: MethodName, checkpointing: bool = False) -> TrainingModel:
    """The model's callables. The paper method tunes a float32 copy of the text encoders.

    checkpointing: recompute the UNet's activations in the backward pass instead of keeping them.
    """
    text = model.text
    if method == "paper":
        text = replace(text, encoders=copy.deepcopy(text.encoders).float())
    predict = TrainingUNet(model)
    if checkpointing:
        model.unet.enable_gradient_checkpointing(predict.checkpoint)

    def encode_image(pixels: Tensor) -> Posterior:
        encoded = model.vae.encode(pixels.to(model.vae.device, model.vae.dtype))
        scale = float(model.vae.config.scaling_factor)
        if hasattr(encoded, "latents"):  # AutoencoderTiny has no posterior
            return Posterior(encoded.latents * scale, torch.zeros_like(encoded.latents))
        return Posterior(encoded.latent_dist.mean * scale, encoded.latent_dist.std * scale)

    def decode_latents(latents: Tensor) -> Tensor:
        scaled = latents.to(model.vae.device, model.vae.dtype) / float(model.vae.config.scaling_factor)
        return torch.cat([model.vae.decode(latent[None]).sample for latent in scaled])

    return TrainingModel(
        prompt_tokens=text.prompt_tokens,
        tokenize=text.tokenize,
        encode_text=text.encode,
        predict=predict,
        encode_image=encode_image,
        noise=model.noise,
        width=model.width,
        text_weights=_reached(text.encoders, text.encode) if method == "paper" else {},
        device=model.device,
        vae_scale_factor=model.vae_scale_factor,
        size_multiple=model.size_multiple,
        decode_latents=decode_latents,
    )


class TrainingUNet:
    """The UNet as a function, with attention terms where a call has some.

    The attention layers are patched during the call alone, and again where gradient checkpointing computes a part
    of it a second time.
    """

    def __init__(self, model: DiffusersModel) -> None:
        self._model = model
        self._patch: GuidedLayers | None = None  # of the latest call, for its backward pass

    def __call__(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        time_ids: Tensor | None,
        attention: AttentionPass | None = None,
        /,
    ) -> Tensor:
        """See `cones2.training.model.Predict`."""
        self._patch = None
        if attention is None:
            return self._model.predict(noisy, timesteps, conditioning, time_ids)
        state = ForwardState(
            attention.terms, attention.growth, observer=attention.observer, pictures=attention.pictures
        )
        self._patch = GuidedLayers(self._model.unet, state)
        with self._patch.installed():
            output = self._model.predict(noisy, timesteps, conditioning, time_ids)
        if attention.terms and not state.taken:
            raise ModelError(
                "no cross-attention layer of this model took the layout term: train with the recipe photos"
            )
        return output

    def checkpoint(self, module: nn.Module, *inputs: Any) -> Any:
        """A part of the UNet whose activations are computed again in the backward pass, as the call computed them."""
        again = nullcontext() if self._patch is None else self._patch.installed()
        return checkpoint(module.__call__, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), again))


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
