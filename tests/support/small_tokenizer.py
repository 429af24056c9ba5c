"""A small byte-pair-like tokenizer for tests that need no real vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cones2.prompt.tokens import PromptTokens, stream_from_ids

_PIECES = ("hot", "dog", "xy", "mug", "cat", "pet", "red", "house", "beach", "and", "near", "the", "on")
_IDS: dict[str, int] = {}


def tokenize(text: str) -> Sequence[tuple[int, str]]:
    """Greedy pieces of each lower-case word, "</w>" at its end; digits and punctuation are words."""
    pieces: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+", text.lower()):
        while word:
            piece = next((known for known in _PIECES if word.startswith(known)), word[0])
            word = word[len(piece) :]
            pieces.append(piece if word else piece + "</w>")
    return [(_IDS.setdefault(piece, 1000 + len(_IDS)), piece) for piece in pieces]


def stream(text: str) -> PromptTokens:
    return stream_from_ids(text, tokenize(text))
