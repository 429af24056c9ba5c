"""What training needs of a model: a few callables, whoever owns the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..guidance.terms import AttentionPass
from ..prompt.conditioning import Conditioning
from ..prompt.tokens import PromptTokens, Tokenize
from ..sampling.noise import Noise


class Posterior(NamedTuple):
    """The image encoder's distribution in the denoiser's latent scale: mean and std [B, C, h, w]."""

    mean: Tensor
    std: Tensor


class Predict(Protocol):
    """The denoising network."""

    def __call__(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        time_ids: Tensor | None,
        attention: AttentionPass | None = None,
        /,
    ) -> Tensor:
        """Its output [B, C, h, w], differentiable with respect to the conditioning.

        noisy: latents [B, C, h, w]. timesteps: [B]. time_ids: SDXL's [B, 6]: original height, width, crop top,
        left, target height, width. attention: what the cross-attention layers do; None for nothing.
        Raises ModelError when no layer took the attention's terms.
        """
        ...


@dataclass(frozen=True, eq=False)
class TrainingModel:
    """The networks as callables.

    None of their weights changes, except `text_weights` by the paper method, `attention_weights` and `token_rows` by
    custom-diffusion.

    prompt_tokens: prompt → its tokens.
    tokenize: phrase → pieces.
    encode_text: prompts → conditioning of one length; differentiable with respect to `text_weights`.
    predict: the denoising network.
    encode_image: pixels [B, 3, H, W] in −1 … 1 → posterior.
    decode_latents: latents [B, C, h, w] → pixels [B, 3, H, W], about −1 … 1; None: the model makes no pictures.
    noise: what the network was trained to predict.
    width: columns d of the conditioning.
    encoder_facts: what residuals say of its text encoder in their metadata; none: their width tells it.
    text_weights: the tunable text encoders' parameters by name.
    attention_weights: the tunable cross-attention parameters by diffusers name, for the method custom-diffusion.
    token_rows: the tunable rows [n, d] of the words of one's own, one tensor per text encoder.
    vae_scale_factor: pixels per latent cell.
    size_multiple: sides of training pictures are multiples of this many pixels.
    """

    prompt_tokens: Callable[[str], PromptTokens]
    tokenize: Tokenize
    encode_text: Callable[[Sequence[str]], Conditioning]
    predict: Predict
    encode_image: Callable[[Tensor], Posterior]
    noise: Noise
    width: int
    text_weights: Mapping[str, Tensor] = field(default_factory=dict)
    attention_weights: Mapping[str, Tensor] = field(default_factory=dict)
    token_rows: Sequence[Tensor] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    vae_scale_factor: int = 8
    size_multiple: int = 64
    encoder_facts: Mapping[str, str] = field(default_factory=dict)
    decode_latents: Callable[[Tensor], Tensor] | None = None
