"""Prompts whose tokens depend on what stands before them: their words are found in the text.

Byte-level and SentencePiece vocabularies have one token for "dog" at the start of a text and another one after a
space, so a phrase tokenized alone is not a run of the prompt's tokens. Here the stream that is searched is the text
that the tokens spell, byte by byte; each byte knows the index of its token.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .tokens import Piece, Token

_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x9FFF),  # Chinese characters and the Japanese syllables
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Scripts that put no spaces between words: there each character counts as a word."""


@dataclass(frozen=True)
class Spelling:
    """A token of a prompt.

    index: its place in the conditioning. text: what it spells, in UTF-8, possibly a part of a character; None for a
    vector or a picture in its place.
    """

    index: int
    text: bytes | None


def spelled_tokens(spellings: Sequence[Spelling], before: bytes = b"", after: bytes = b"") -> tuple[Token, ...]:
    """The stream of a prompt's text: one Token per byte, in lower case and with single spaces.

    before, after: what the model's template puts around the prompt, which is not searched; where the tokens do not
    spell it, all of their text is.
    """
    stream: list[Token] = []
    for run in _runs(spellings):
        if isinstance(run, int):
            stream.append(Token.embedding(run))
        else:
            stream += _folded(*run)
    first = len(before_bytes) if _starts(stream, before_bytes := _fold_text(before)) else 0
    last = len(stream) - len(after_bytes) if _ends(stream, after_bytes := _fold_text(after)) else len(stream)
    return tuple(stream[first:last])


def spelled_phrase(phrase: str) -> list[Piece]:
    """A phrase as pieces of such a stream."""
    return [token.piece for token in spelled_tokens([Spelling(0, phrase.encode("utf-8", "replace"))])]


def _runs(spellings: Sequence[Spelling]) -> Iterator[int | tuple[bytes, list[int]]]:
    """Unbroken text with the token of each byte; the index of what stands between."""
    text, owners = b"", list[int]()
    for spelling in spellings:
        if spelling.text is not None:
            text += spelling.text
            owners += [spelling.index] * len(spelling.text)
            continue
        yield text, owners
        yield spelling.index
        text, owners = b"", []
    yield text, owners


def _folded(text: bytes, owners: Sequence[int]) -> list[Token]:
    """One Token per byte of the folded text. A stray byte of a broken character stays as it is."""
    tokens: list[Token] = []
    characters = text.decode("utf-8", "surrogateescape")
    place = 0
    for number, character in enumerate(characters):
        own = owners[place : place + len(_encoded(character))]
        place += len(own)
        following = characters[number + 1] if number + 1 < len(characters) else " "
        if character.isspace():
            if tokens and tokens[-1].piece.text == b" ":  # of several spaces the last is the next word's
                tokens.pop()
            tokens.append(_byte(own[-1], 0x20, True))
            continue
        folded = _encoded(_fold(character))
        for rank, byte in enumerate(folded):
            ends = rank + 1 == len(folded) and _is_boundary(character, following)
            tokens.append(_byte(own[min(rank, len(own) - 1)], byte, ends))
    return tokens


def _byte(index: int, byte: int, ends_word: bool) -> Token:
    return Token(index, Piece(byte, bytes([byte]), ends_word))


def _fold(character: str) -> str:
    return unicodedata.normalize("NFKC", character).casefold()


def _encoded(character: str) -> bytes:
    return character.encode("utf-8", "surrogateescape")


def _is_boundary(character: str, following: str) -> bool:
    """Whether a word ends between two characters; never before a mark that belongs to the first."""
    if unicodedata.category(following)[0] == "M":
        return False
    if not (_in_word(character) and _in_word(following)):
        return True
    return _has_no_spaces(character) or _has_no_spaces(following)


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def _has_no_spaces(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _WITHOUT_SPACES)


def _fold_text(text: bytes) -> bytes:
    return b"".join(token.piece.text for token in _folded(text, [0] * len(text)))


def _starts(stream: Sequence[Token], text: bytes) -> bool:
    return b"".join(token.piece.text for token in stream[: len(text)]) == text


def _ends(stream: Sequence[Token], text: bytes) -> bool:
    return b"".join(token.piece.text for token in stream[len(stream) - len(text) :]) == text if text else True
