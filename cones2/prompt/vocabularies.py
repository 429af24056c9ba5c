"""How vocabularies write their tokens: from a tokenizer's own spelling to pieces."""

from __future__ import annotations

from .tokens import Piece

_WORD_END = "</w>"


def clip_piece(id: int, spelling: str) -> Piece:
    """A token of CLIP's byte-level BPE vocabulary, "dog</w>" where it ends a word."""
    text = spelling.removesuffix(_WORD_END)
    try:
        content = bytes(_BYTE_OF[character] for character in text)
    except KeyError:  # an added token, spelled as it is
        content = text.encode("utf-8", "replace")
    return Piece(id, content, spelling.endswith(_WORD_END))


def _byte_alphabet() -> dict[str, int]:
    """Character → byte of byte-level BPE vocabularies (GPT-2, CLIP).

    Printable Latin-1 stands for itself; the other bytes follow from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
