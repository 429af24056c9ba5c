"""Encoded prompts: what a denoiser is told, and which token is where in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from torch import Tensor

from .tokens import PromptTokens


class PromptFormat(Enum):
    """How much of a prompt is encoded.

    CHUNKED: all of it, in chunks of 77 tokens.
    FIRST_CHUNK: 77 tokens; the rest is cut off.
    UNPADDED: as many tokens as the prompt has words, plus two; the rest is cut off.
    """

    CHUNKED = "chunked"
    FIRST_CHUNK = "first chunk"
    UNPADDED = "unpadded"


class Conditioning(NamedTuple):
    """What a denoiser is told.

    embeds: the text encoders' output per token, [B, L, d].
    pooled: one vector per prompt, [B, p], for SDXL; None for others.
    """

    embeds: Tensor
    pooled: Tensor | None = None

    def select(self, indices: Sequence[int]) -> Conditioning:
        """Some entries of the batch, in the given order."""
        return Conditioning(self.embeds[list(indices)], None if self.pooled is None else self.pooled[list(indices)])

    def detached(self) -> Conditioning:
        """Without gradient."""
        return Conditioning(self.embeds.detach(), None if self.pooled is None else self.pooled.detach())


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A prompt's conditioning, a batch of one, and its tokens."""

    conditioning: Conditioning
    tokens: PromptTokens
