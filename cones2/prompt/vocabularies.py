"""How vocabularies write their tokens: from a tokenizer's own spelling to pieces."""

from __future__ import annotations

import re

from .tokens import Piece

_WORD_END = "</w>"
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


def clip_piece(id: int, spelling: str) -> Piece:
    """A token of CLIP's byte-level BPE vocabulary, "dog</w>" where it ends a word."""
    text = spelling.removesuffix(_WORD_END)
    try:
        content = bytes(_BYTE_OF[character] for character in text)
    except KeyError:  # an added token, spelled as it is
        content = text.encode("utf-8", "replace")
    return Piece(id, content, spelling.endswith(_WORD_END))


def byte_level_text(spelling: str) -> bytes:
    """What a token of a byte-level vocabulary (Qwen, Mistral) says; an added one is spelled as it is."""
    try:
        return bytes(_BYTE_OF[character] for character in spelling)
    except KeyError:
        return spelling.encode("utf-8", "replace")


def sentence_piece_text(spelling: str) -> bytes:
    """What a token of a SentencePiece vocabulary (T5, Gemma) says: "▁dog" is " dog", "<0x0A>" a single byte."""
    if _BYTE_PIECE.fullmatch(spelling):
        return bytes.fromhex(spelling[3:5])
    return spelling.replace("\u2581", " ").encode("utf-8", "replace")


def _byte_alphabet() -> dict[str, int]:
    """Character → byte of byte-level BPE vocabularies (GPT-2, CLIP).

    Printable Latin-1 stands for itself; the other bytes follow from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
