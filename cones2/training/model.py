"""What training needs of a model: a few callables, whoever owns the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..prompt.tokens import PromptTokens, Tokenize

Precision = Literal["float32", "float16", "bfloat16"]


class Conditioning(NamedTuple):
    """rows: [B, L, d] after the final layer norm. pooled: [B, p] for SDXL, else None."""

    rows: Tensor
    pooled: Tensor | None = None

    def select(self, indices: Sequence[int]) -> Conditioning:
        """The conditioning of some captions, in the given order."""
        return Conditioning(self.rows[list(indices)], None if self.pooled is None else self.pooled[list(indices)])

    def detached(self) -> Conditioning:
        """Without gradient."""
        return Conditioning(self.rows.detach(), None if self.pooled is None else self.pooled.detach())


class Posterior(NamedTuple):
    """The image encoder's distribution in the UNet's latent scale: mean and std [B, C, h, w]."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True, eq=False)
class TrainingModel:
    """The networks as callables. None of their weights changes, except `text_weights` by the paper method.

    prompt_tokens: prompt → its tokens and rows. tokenize: phrase → (id, piece) pairs.
    encode_text: prompts → conditioning of one length; differentiable with respect to `text_weights`.
    predict: (noisy latents [B, C, h, w], timesteps int64 [B], conditioning, sizes [B, 6] or None) →
    noise or velocity [B, C, h, w]; differentiable with respect to the conditioning's rows.
    encode_image: pixels [B, 3, H, W] in −1 … 1 → posterior.
    sizes are SDXL's time ids: original height, width, crop top, left, target height, width.
    text_weights: the tunable text encoder's parameters by name; several encoders share the mapping.
    alphas_cumprod: ᾱ [T]. width: columns d of the conditioning. factor: pixels per latent cell.
    multiple: sides of training pictures are multiples of this many pixels.
    """

    prompt_tokens: Callable[[str], PromptTokens]
    tokenize: Tokenize
    encode_text: Callable[[Sequence[str]], Conditioning]
    predict: Callable[[Tensor, Tensor, Conditioning, Tensor | None], Tensor]
    encode_image: Callable[[Tensor], Posterior]
    alphas_cumprod: Tensor
    prediction_type: Literal["epsilon", "v_prediction"]
    width: int
    text_weights: Mapping[str, Tensor] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    factor: int = 8
    multiple: int = 64
