"""SDXL as diffusers components, for training: two text encoders, whose rows stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..prompt.tokens import Tokenize
from ..training.model import Conditioning
from .latent_model import StableDiffusion
from .text import hf_tokenize, prompt_tokens


@dataclass(frozen=True, eq=False)
class StableDiffusionXL(StableDiffusion):
    """The loaded components. text_encoder: a ModuleList of CLIP l and CLIP g; tokenizer: a tuple of theirs.

    What samples a picture or reads the one encoder of Stable Diffusion 1.x and 2.x does not work on it.
    """

    @property
    def tokenize(self) -> Tokenize:
        """Phrase → (token id, BPE piece) without special tokens; both tokenizers give the same."""
        return hf_tokenize(self.tokenizer[0])

    def text_function(self, encoders: nn.ModuleList) -> Callable[[Sequence[str]], Conditioning]:
        """Prompts → rows [B, 77, 2048] of the last but one layers, l then g, and g's pooled text [B, 1280]."""

        def encode(prompts: Sequence[str]) -> Conditioning:
            rows, pooled = [], None
            for tokenizer, encoder in zip(self.tokenizer, encoders, strict=True):
                ids = torch.cat([prompt_tokens(tokenizer, prompt)[1] for prompt in prompts])
                output = encoder(ids.to(self.device), output_hidden_states=True)
                rows.append(output.hidden_states[-2])
                pooled = output[0]  # the projected text of the second encoder
            return Conditioning(torch.cat(rows, -1), pooled)

        return encode

    def added(self, pooled: Tensor, sizes: Tensor | None) -> dict[str, Any]:
        """The UNet's further inputs: pooled text [B, 1280] and time ids [B, 6]."""
        return {"added_cond_kwargs": {"text_embeds": pooled.to(self.dtype), "time_ids": sizes}}
