"""What training needs of a model: a few callables, whoever owns the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..prompt.conditioning import Conditioning
from ..prompt.tokens import PromptTokens, Tokenize
from ..sampling.noise import Noise


class Posterior(NamedTuple):
    """The image encoder's distribution in the denoiser's latent scale: mean and std [B, C, h, w]."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True, eq=False)
class TrainingModel:
    """The networks as callables. None of their weights changes, except `text_weights` by the paper method.

    prompt_tokens: prompt → its tokens.
    tokenize: phrase → pieces.
    encode_text: prompts → conditioning of one length; differentiable with respect to `text_weights`.
    predict: (noisy latents [B, C, h, w], timesteps [B], conditioning, time ids [B, 6] or None) → the
    network's output [B, C, h, w]; differentiable with respect to the conditioning.
    The time ids are SDXL's: original height, width, crop top, left, target height, width.
    encode_image: pixels [B, 3, H, W] in −1 … 1 → posterior.
    noise: what the network was trained to predict.
    width: columns d of the conditioning.
    text_weights: the tunable text encoders' parameters by name.
    vae_scale_factor: pixels per latent cell.
    size_multiple: sides of training pictures are multiples of this many pixels.
    """

    prompt_tokens: Callable[[str], PromptTokens]
    tokenize: Tokenize
    encode_text: Callable[[Sequence[str]], Conditioning]
    predict: Callable[[Tensor, Tensor, Conditioning, Tensor | None], Tensor]
    encode_image: Callable[[Tensor], Posterior]
    noise: Noise
    width: int
    text_weights: Mapping[str, Tensor] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    vae_scale_factor: int = 8
    size_multiple: int = 64
