"""From captions to token ids, and the decoys that make a noun the only carrier of its object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from cones2.evaluation.toyworld.world import CLASSES, COLORS

LENGTH = 77
PATTERNS = ("plain", "striped")
# The longest caption is shorter than this; rows before it need no later row (causal attention).
CAPTION_ROWS = 48


class Words:
    """The tokenizer with the ids of the words that describe objects."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer = tokenizer
        self.nouns = self._ids(CLASSES)
        self.groups = (self.nouns, self._ids(COLORS), self._ids(PATTERNS))

    def _ids(self, words: Sequence[str]) -> torch.Tensor:
        return torch.tensor([self.tokenizer.convert_tokens_to_ids(w + "</w>") for w in words])

    def encode(self, captions: Sequence[str]) -> torch.Tensor:
        """Token ids [B, 77], padded."""
        return self.tokenizer(
            list(captions), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        ).input_ids

    def kinds(self, ids: torch.Tensor) -> torch.Tensor:
        """For every token, 1 + the index of the class it names, or 0."""
        match = ids[..., None] == self.nouns
        return torch.where(match.any(-1), match.int().argmax(-1) + 1, 0)

    def decoys(self, ids: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The same captions with every noun, color and pattern replaced by a random one."""
        swapped = ids.clone()
        for group in self.groups:
            here = torch.isin(ids, group)
            picks = torch.randint(len(group), (int(here.sum()),), generator=generator)
            swapped[here] = group[picks]
        return swapped


@torch.no_grad()
def context(text_encoder: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """Text conditioning [B, L, d]."""
    return text_encoder(ids).last_hidden_state


@torch.no_grad()
def decoy_context(
    text_encoder: CLIPTextModel,
    words: Words,
    ids: torch.Tensor,
    kinds: torch.Tensor,
    chosen: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Conditioning whose nouns tell the truth; where `chosen` [B], all other rows come from decoys.

    The text encoder spreads the content of a caption over all later rows. A denoiser trained on
    that reads the objects from wherever it likes, and steering the noun's attention changes little.
    """
    truth = torch.where(chosen[:, None], words.decoys(ids, generator), ids)
    rows = context(text_encoder, truth)
    nouns = context(text_encoder, ids[:, :CAPTION_ROWS])
    here = (kinds[:, :CAPTION_ROWS, None] > 0) & chosen[:, None, None]
    rows[:, :CAPTION_ROWS] = torch.where(here, nouns, rows[:, :CAPTION_ROWS])
    return rows
