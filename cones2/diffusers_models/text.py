"""Hugging Face CLIP tokenizers as the engine sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..prompt.tokens import CHUNK_CONTENT, CHUNK_ROWS, WORD_END, PromptTokens, Tokenize, stream_from_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def hf_tokenize(tokenizer: PreTrainedTokenizerBase) -> Tokenize:
    """The tokenizer as a function from a phrase to its (id, BPE piece) pairs, without specials.

    Added tokens (SD2 declares "!" as one) are no BPE pieces but whole words, and marked as such.
    """
    added = set(tokenizer.get_added_vocab().values())

    def tokenize(phrase: str) -> Sequence[tuple[int, str]]:
        ids: list[int] = tokenizer(phrase, add_special_tokens=False, verbose=False)["input_ids"]
        pieces = tokenizer.convert_ids_to_tokens(ids)
        return [(id, f"{piece}{WORD_END}" if id in added else piece) for id, piece in zip(ids, pieces, strict=True)]

    return tokenize


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, chunks: int = 1) -> tuple[PromptTokens, Tensor]:
    """The prompt's tokens and the ids to encode: int64 [chunks, 77].

    Each chunk holds a start token, up to 75 tokens, an end token and padding (SD1 pads with the end
    token, SD2 with "!"). chunks: at least this many, so that a negative prompt gets as many rows.
    """
    stream = stream_from_ids(prompt, hf_tokenize(tokenizer)(prompt))
    count = max(chunks, stream.length // CHUNK_ROWS)
    ids = torch.full((count, CHUNK_ROWS), int(tokenizer.pad_token_id))
    ids[:, 0] = tokenizer.bos_token_id
    for chunk in range(count):
        content = [token.id for token in stream.tokens[CHUNK_CONTENT * chunk : CHUNK_CONTENT * (chunk + 1)]]
        content.append(tokenizer.eos_token_id)
        ids[chunk, 1 : 1 + len(content)] = torch.tensor(content)
    return PromptTokens(prompt, stream.tokens, CHUNK_ROWS * count), ids


def published_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> Tensor:
    """Ids of the derived project's unpadded prompt: int64 [1, n], n ≤ whitespace words + 2 (and ≤ 77).

    It counts words, so each punctuation mark pushes one token off the prompt's end.
    """
    length = min(len(prompt.split()) + 2, CHUNK_ROWS)
    ids: list[int] = tokenizer(prompt, truncation=True, max_length=length)["input_ids"]
    return torch.tensor([ids])
