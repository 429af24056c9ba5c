"""CLIP text encoders of transformers as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import PromptError
from ..messages import encodable, shown
from ..prompt.conditioning import Conditioning, PromptFormat
from ..prompt.tokens import CHUNK_CONTENT, CHUNK_LENGTH, Piece, PromptTokens, Tokenize, chunked_tokens
from ..prompt.vocabularies import clip_piece
from .modifier_tokens import negative_ids, tokenize_with

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class ClipText:
    """One text encoder, or several whose embeddings stand side by side.

    tokenizers: one per encoder; they share a vocabulary and differ in padding.
    encoders: the networks.
    penultimate: whether the last layer but one is read, without final norm, and the last encoder's
    projected text too (SDXL); else the last layer after the final norm (SD 1.x, SD 2.x).
    modifiers: ids of words of one's own, above the vocabulary's; see `cones2.diffusers_models.deltas`.
    """

    tokenizers: Sequence[PreTrainedTokenizerBase]
    encoders: nn.ModuleList
    penultimate: bool = False
    modifiers: Mapping[str, int] = field(default_factory=dict)

    @property
    def tokenize(self) -> Tokenize:
        """Phrase → pieces without special tokens."""
        plain = clip_tokenize(self.tokenizers[0])
        return tokenize_with(plain, self.modifiers) if self.modifiers else plain

    def prompt_tokens(self, prompt: str, chunks: int = 1) -> PromptTokens:
        """The prompt's tokens in at least so many chunks of 77."""
        stream = chunked_tokens(prompt, self.tokenize(prompt))
        return PromptTokens(prompt, stream.tokens, max(stream.length, CHUNK_LENGTH * chunks))

    def formatted(self, prompts: Sequence[str], format: PromptFormat) -> list[tuple[PromptTokens, list[Tensor]]]:
        """Each prompt's tokens and its ids per tokenizer, int64 [chunks, tokens]; all prompts are equally long.

        The first prompt decides how much a format cuts off.
        """
        streams = [self.prompt_tokens(prompt) for prompt in prompts]
        longest = max(stream.length for stream in streams)
        length = longest if format is PromptFormat.CHUNKED else CHUNK_LENGTH
        ids = [[padded_ids(tokenizer, stream, length) for tokenizer in self.tokenizers] for stream in streams]
        if format is PromptFormat.UNPADDED:
            ids[0] = [unpadded_ids(tokenizer, prompts[0]) for tokenizer in self.tokenizers]
            length = ids[0][0].shape[1]
            ids[1:] = [[part[:, :length] for part in parts] for parts in ids[1:]]
        return [(_cut(stream, length), parts) for stream, parts in zip(streams, ids, strict=True)]

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Prompts of at most 75 tokens each as a batch [B, 77, d]; differentiable."""
        ids = [tuple(parts) for _, parts in self.formatted(prompts, PromptFormat.FIRST_CHUNK)]
        return self.embed([torch.cat(column) for column in zip(*ids, strict=True)])

    def embed(self, ids: Sequence[Tensor]) -> Conditioning:
        """Conditioning of ids per tokenizer, each int64 [B, tokens]."""
        embeds: list[Tensor] = []
        pooled: Tensor | None = None
        for encoder, part in zip(self.encoders, ids, strict=True):
            network: Any = encoder
            if self.modifiers:
                part = negative_ids(part, min(self.modifiers.values()))
            output = network(part.to(network.device), output_hidden_states=self.penultimate)
            embeds.append(output.hidden_states[-2] if self.penultimate else output.last_hidden_state)
            pooled = output[0] if self.penultimate else None
        return Conditioning(torch.cat(embeds, -1), pooled)


def clip_tokenize(tokenizer: PreTrainedTokenizerBase) -> Tokenize:
    """The tokenizer as a function from a phrase to its pieces, without special tokens.

    Added tokens (SD2 declares "!" as one) are whole words, and marked as such. The function raises PromptError
    for a text with half of a surrogate pair, which no tokenizer takes.
    """
    added = set(tokenizer.get_added_vocab().values())

    def tokenize(phrase: str) -> Sequence[Piece]:
        if encodable(phrase) != phrase:
            raise PromptError(f'"{shown(phrase, 80)}" is not a whole text: it holds half of a surrogate pair')
        ids: list[int] = tokenizer(phrase, add_special_tokens=False, verbose=False)["input_ids"]
        pieces = [
            clip_piece(id, spelling) for id, spelling in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
        ]
        return [piece._replace(ends_word=True) if piece.id in added else piece for piece in pieces]

    return tokenize


def padded_ids(tokenizer: PreTrainedTokenizerBase, stream: PromptTokens, length: int) -> Tensor:
    """The ids to encode, int64 [length / 77, 77].

    Each chunk holds a start token, up to 75 tokens, an end token and padding (SD1 pads with the end
    token, SD2 with "!"). What does not fit into `length` is cut off.
    """
    chunks = length // CHUNK_LENGTH
    ids = torch.full((chunks, CHUNK_LENGTH), int(tokenizer.pad_token_id))
    ids[:, 0] = tokenizer.bos_token_id
    for chunk in range(chunks):
        tokens = stream.tokens[CHUNK_CONTENT * chunk : CHUNK_CONTENT * (chunk + 1)]
        content = [*(token.piece.id for token in tokens), tokenizer.eos_token_id]
        ids[chunk, 1 : 1 + len(content)] = torch.tensor(content)
    return ids


def unpadded_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> Tensor:
    """Ids of the derived project's unpadded prompt: int64 [1, n], n ≤ whitespace words + 2 (and ≤ 77).

    It counts words, so each punctuation mark pushes one token off the prompt's end.
    """
    length = min(len(prompt.split()) + 2, CHUNK_LENGTH)
    ids: list[int] = tokenizer(prompt, truncation=True, max_length=length)["input_ids"]
    return torch.tensor([ids])


def _cut(stream: PromptTokens, length: int) -> PromptTokens:
    """The tokens that lie before the end token of a conditioning of `length` tokens."""
    if length >= stream.length:
        return PromptTokens(stream.prompt, stream.tokens, length)
    kept = tuple(token for token in stream.tokens if token.index < length - 1)
    return PromptTokens(stream.prompt, kept, length)
