"""The tokens of a prompt, and where a phrase occurs among them.

A prompt is a stream of real tokens (no start, end or pad tokens), each knowing its index in the
conditioning. A phrase is tokenized by the same live tokenizer and its run of ids is searched in
that stream, so words of several tokens, prompts of several 77-token chunks and any vocabulary work.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..messages import LIST_LIMIT, shown

Span = tuple[int, ...]
"""Token indices of one occurrence of a phrase, first to last; a phrase may straddle two chunks."""

CHUNK_LENGTH = 77  # tokens of a CLIP conditioning per chunk: start token, 75 tokens, end token
CHUNK_CONTENT = 75
EMBEDDING_ID = -1  # a vector put into the prompt; no vocabulary uses this id
_MARKUP = "<>|`^~"  # symbols that only ever wrap a phrase; all other symbols and emoji stay
_BRACKETED_FIRST = re.compile(r"<[^<>\s]+>(?=\s)")  # a word such as <new1> before others is a part of the phrase
_BRACKETED_LAST = re.compile(r"\s<[^<>\s]+>$")


class Piece(NamedTuple):
    """One token as a vocabulary has it.

    id: its number in the vocabulary.
    text: its part of the text in UTF-8, possibly a part of a character.
    ends_word: whether a word ends with it.
    """

    id: int
    text: bytes
    ends_word: bool


Tokenize = Callable[[str], Sequence[Piece]]
"""Phrase → pieces of the live tokenizer, without start, end and pad tokens."""


@dataclass(frozen=True)
class Token:
    """A real token of a prompt.

    index: its place in the conditioning, 77 · chunk + position, the start token being position 0.
    piece: what it says; an embedding vector put into the prompt says nothing (see `embedding`).
    """

    index: int
    piece: Piece

    @classmethod
    def embedding(cls, index: int) -> Token:
        """An embedding vector put into the prompt: a word of its own without a text."""
        return cls(index, Piece(EMBEDDING_ID, b"", True))


@dataclass(frozen=True)
class PromptTokens:
    """The real tokens of a prompt in reading order, or the bytes of their text (see `cones2.prompt.spelled`).

    length: tokens of its conditioning, 77 per chunk of CLIP's.
    """

    prompt: str
    tokens: tuple[Token, ...]
    length: int

    @cached_property
    def searchable(self) -> str:
        """One character per token, so that a run of ids can be searched as a string."""
        return _as_text([token.piece.id for token in self.tokens])

    def span(self, places: range) -> Span:
        """The token indices at these positions of the stream, each once."""
        return tuple(dict.fromkeys(self.tokens[place].index for place in places))


def chunked_indices(count: int, content: int = CHUNK_CONTENT) -> list[int]:
    """Indices of `count` real tokens put into chunks of `content` tokens each."""
    return [(content + 2) * (place // content) + 1 + place % content for place in range(count)]


def chunked_tokens(prompt: str, pieces: Sequence[Piece]) -> PromptTokens:
    """The tokens of pieces that fill chunks of 75 one after the other."""
    chunks = max(1, math.ceil(len(pieces) / CHUNK_CONTENT))
    tokens = tuple(Token(index, piece) for index, piece in zip(chunked_indices(len(pieces)), pieces, strict=True))
    return PromptTokens(prompt, tokens, CHUNK_LENGTH * chunks)


def words(prompt: PromptTokens) -> list[tuple[str, Span]]:
    """The prompt's words with their token indices; punctuation counts as words.

    An embedding vector is a word with the text "".
    """
    found: list[tuple[str, Span]] = []
    pending: list[Token] = []
    for place, token in enumerate(prompt.tokens):
        pending.append(token)
        if token.piece.ends_word or place + 1 == len(prompt.tokens) or not prompt.tokens[place + 1].piece.text:
            text = b"".join(part.piece.text for part in pending).decode("utf-8", "replace")
            found.append((text, tuple(part.index for part in pending)))
            pending = []
    return found


def listed_words(prompt: PromptTokens) -> str:
    """The prompt's different words as error messages show them: "a, hot, dog", at most 240 characters."""
    distinct = dict.fromkeys(word for word, _ in words(prompt) if bare_phrase(word))
    return shown(", ".join(distinct), LIST_LIMIT) or "none, it is empty"


def bare_phrase(text: str) -> str:
    """The phrase without punctuation, quotes, brackets and spaces around it; inner spaces single.

    Brackets stay around one of several words that begins or ends the phrase: "<new1> cat".
    """
    text = " ".join(text.split())
    start, stop = 0, len(text)
    while start < stop and is_edge(text[start]) and not _BRACKETED_FIRST.match(text, start):
        start += 1
    while start < stop and ends_in_edge(text[start:stop]):
        stop -= 1
    return text[start:stop]


def ends_in_edge(text: str) -> bool:
    """Whether the text ends with something that no phrase ends with."""
    return bool(text) and is_edge(text[-1]) and not _BRACKETED_LAST.search(text)


def is_edge(character: str) -> bool:
    """Whether a character is punctuation, a space or invisible: nothing that a phrase starts or ends with."""
    category = unicodedata.category(character)
    return category[0] in "PZ" or category in ("Cc", "Cf") or character in _MARKUP


def find_phrase(prompt: PromptTokens, phrase: str, tokenize: Tokenize) -> list[Span]:
    """Every occurrence of the phrase as whole words, whatever else is declared; empty when there is none."""
    return [prompt.span(places) for places in find_places(prompt, phrase_ids(phrase, tokenize))]


def phrase_ids(phrase: str, tokenize: Tokenize) -> tuple[int, ...]:
    """The token ids of a phrase without its edges."""
    bare = bare_phrase(phrase)
    return tuple(piece.id for piece in tokenize(bare)) if bare else ()


def find_places(prompt: PromptTokens, ids: Sequence[int]) -> list[range]:
    """Stream positions of every whole-word run of these ids; runs do not overlap each other."""
    places: list[range] = []
    wanted, stream = _as_text(ids), prompt.tokens
    start = prompt.searchable.find(wanted) if wanted else -1
    while start >= 0:
        stop = start + len(wanted)
        whole = (start == 0 or stream[start - 1].piece.ends_word) and stream[stop - 1].piece.ends_word
        if whole:
            places.append(range(start, stop))
        start = prompt.searchable.find(wanted, stop if whole else start + 1)
    return places


def _as_text(ids: Sequence[int]) -> str:
    return "".join(map(chr, (id if id >= 0 else 0x10FFFF for id in ids)))
