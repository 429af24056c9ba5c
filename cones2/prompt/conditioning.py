"""Encoded prompts: what a denoiser is told, and which token is where in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
import torch.nn.functional as F
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
    pooled: one vector per prompt, [B, p]; None where the model reads none.
    lengths: tokens of each prompt where they differ: the rows behind them fill the batch up; None: L, all of them.
    """

    embeds: Tensor
    pooled: Tensor | None = None
    lengths: tuple[int, ...] | None = None

    def select(self, indices: Sequence[int]) -> Conditioning:
        """Some entries of the batch, in the given order."""
        chosen = list(indices)
        lengths = None if self.lengths is None else tuple(self.lengths[index] for index in chosen)
        return Conditioning(self.embeds[chosen], None if self.pooled is None else self.pooled[chosen], lengths)

    def detached(self) -> Conditioning:
        """Without gradient."""
        pooled = None if self.pooled is None else self.pooled.detach()
        return Conditioning(self.embeds.detach(), pooled, self.lengths)


def together(parts: Sequence[Conditioning]) -> Conditioning:
    """Conditionings of prompts that were encoded apart, as one batch; the shorter are filled up with zeros."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    rows = [length for part in parts for length in (part.lengths or (part.embeds.shape[1],) * len(part.embeds))]
    longest = max(part.embeds.shape[1] for part in parts)
    embeds = torch.cat([F.pad(part.embeds, (0, 0, 0, longest - part.embeds.shape[1])) for part in parts])
    lengths = tuple(rows) if len(set(rows)) > 1 else None
    return Conditioning(embeds, torch.cat(pooled) if pooled else None, lengths)


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A prompt's conditioning, a batch of one, and its tokens."""

    conditioning: Conditioning
    tokens: PromptTokens
