"""Regions in the prompt itself: "a dog[region 0.5 0.3 0.4 0.6] on the grass"."""

from __future__ import annotations

import re

from ..errors import LayoutError
from ..messages import shown
from .document import DrawnSubject
from .document_values import LENGTH, MAX_CHARACTERS, MAX_SHAPES, POSITION
from .regions import Box
from .shapes import Rectangle

_WORD = r"(?<![\w'’-])(?P<word>[^\W_](?:[\w'’-]{0,99}[^\W_])?)"
_NUMBER = r"[ ,]\s{0,9}(-?(?:\d{1,9}(?:\.\d{0,17})?|\.\d{1,17}))"
_REGION = re.compile(rf"{_WORD}\[region{_NUMBER * 4}\s{{0,9}}\]", re.IGNORECASE)
_MAX_PROMPT = 20_000  # each region is counted through all of it
_MARK = re.compile(r"\[region\b", re.IGNORECASE)


def regions_in_text(text: str) -> tuple[str, list[DrawnSubject]]:
    """The prompt without its regions, and the subjects that they place.

    A region belongs to the word before it; its numbers are left, top, width and height in fractions of the picture.
    Of a word that occurs several times, it is the one occurrence. Raises LayoutError for a region that cannot be read.
    """
    if len(text) > MAX_CHARACTERS:
        raise LayoutError(f"the prompt has {len(text):,} characters: {MAX_CHARACTERS:,} is the limit")
    found = list(_REGION.finditer(text))
    if found and len(text) > _MAX_PROMPT:
        raise LayoutError(f"the prompt has {len(text):,} characters: {_MAX_PROMPT:,} is the limit with regions in it")
    if len(found) > MAX_SHAPES:
        raise LayoutError(f"the prompt has {len(found):,} regions: {MAX_SHAPES} is the limit")
    prompt = _REGION.sub(lambda match: match["word"], text)
    if wrong := _MARK.search(prompt):
        raise LayoutError(
            f'"{shown(prompt[wrong.start() : wrong.start() + 40])}" is not a region: write left, top, width and height '
            'in fractions of the picture right after the word, such as "a dog[region 0.5 0.3 0.4 0.6]"'
        )
    return prompt, [_subject(match, text, prompt) for match in found]


def _subject(match: re.Match[str], text: str, prompt: str) -> DrawnSubject:
    left, top, width, height = (float(number) for number in match.groups()[1:])
    if not (left in POSITION and top in POSITION and width in LENGTH and height in LENGTH):
        raise LayoutError(f'"{shown(match[0], 80)}" lies far outside the picture, which reaches from 0 to 1')
    word = re.compile(rf"(?<!\w){re.escape(match['word'])}(?!\w)", re.IGNORECASE)
    name = match["word"]
    if len(word.findall(prompt)) > 1:
        name = f"{name}#{len(word.findall(_REGION.sub(lambda each: each['word'], text[: match.end()])))}"
    return DrawnSubject(name, (Rectangle(Box(left, top, width, height)),))
