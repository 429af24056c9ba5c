"""A small byte-pair-like tokenizer for tests that need no real vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cones2.prompt.tokens import Piece, PromptTokens, chunked_tokens

_PIECES = ("hot", "dog", "xy", "mug", "cat", "pet", "red", "house", "beach", "and", "near", "the", "on")
_IDS: dict[tuple[str, bool], int] = {}


def tokenize(text: str) -> Sequence[Piece]:
    """Greedy pieces of each lower-case word; digits and punctuation are words."""
    pieces: list[Piece] = []
    for word in re.findall(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+", text.lower()):
        while word:
            part = next((known for known in _PIECES if word.startswith(known)), word[0])
            word = word[len(part) :]
            id = _IDS.setdefault((part, not word), 1000 + len(_IDS))
            pieces.append(Piece(id, part.encode("utf-8", "replace"), not word))
    return pieces


def spelling(id: int) -> str:
    """An id as CLIP's vocabulary would spell it."""
    part, ends_word = next(key for key, known in _IDS.items() if known == id)
    return f"{part}</w>" if ends_word else part


def stream(text: str) -> PromptTokens:
    return chunked_tokens(text, tokenize(text))
