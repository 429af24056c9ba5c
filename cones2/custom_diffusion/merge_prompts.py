"""Which words of which prompts a merge looks at."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Phrases = Callable[[str, str], tuple[str, str]]
"""(token, class word) → the two prompts whose words keep the concept's own keys and values."""

_PHOTO = "photo of a"
_PHOTO_WITHIN = 15  # characters from the beginning in which it is looked for
_PHOTO_ROWS = 4  # start token and the three words


def our_phrases(token: str, class_word: str) -> tuple[str, str]:
    """The concept alone, and in a photo; in a painting's style when its class word says art or style."""
    is_style = bool({"art", "painting", "style", "drawing"} & set(class_word.lower().split()))
    return _phrases(token, class_word, is_style, "photo of a")


def published_phrases(token: str, class_word: str) -> tuple[str, str]:
    """As the published script for diffusers: the letters "art" anywhere make a style."""
    return _phrases(token, class_word, "art" in f"{token} {class_word}", "photo of a")


def published_compvis_phrases(token: str, class_word: str) -> tuple[str, str]:
    """As the published script for CompVis checkpoints: without an article, so that "a photo of" are targets too."""
    return _phrases(token, class_word, "art" in f"{token} {class_word}", "a photo of")


def rows_of(encode: Callable[[str], Tensor], prompt: str) -> Tensor:
    """The rows of a prompt that count [rows, d]: after the start token, up to and with the end token.

    A prompt that begins "photo of a" counts from its fourth row on.
    """
    first = _PHOTO_ROWS if _PHOTO in prompt[:_PHOTO_WITHIN] else 1
    return encode(prompt)[first:]


def _phrases(token: str, class_word: str, is_style: bool, photo: str) -> tuple[str, str]:
    subject = f"{token} {class_word}".strip()
    return subject, f"painting in the style of {subject}" if is_style else f"{photo} {subject}"
