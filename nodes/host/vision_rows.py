"""Where a prompt of Qwen-Image-Edit holds its reference pictures, which are encoded with the text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from comfy.sd import CLIP

_KEY = "qwen25_7b"
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_PAD, _MESSAGE = 151655, 151644  # the vocabulary's <|image_pad|> and <|im_start|>
_PATCH = 28  # pixels a side of what the encoder makes one row of
_LEEWAY = 0.6  # of a patch: latents tell a picture's sides to 8 pixels


def vision_rows(clip: CLIP, text: str, rows: int, references: Sequence[Tensor]) -> tuple[range, ...]:
    """The rows of each reference picture in the conditioning of a prompt, `rows` long; none where it has no such rows.

    The host's text nodes for Qwen-Image-Edit put pictures before the text, in one of two ways. How many rows each has
    follows from its sides, which the latents [B, C, …, h, w] of `references` tell nearly, and from the rows of all.
    """
    named = "".join(f"Picture {number}: {_PICTURE}" for number in range(1, len(references) + 1))
    forms = [(named, 384)] + ([(_PICTURE, 1024)] if len(references) == 1 else [])
    for before, side in forms if references else ():
        ids = [token[0] for token in clip.tokenize(before + text)[_KEY][0]]
        pads = [place for place, id in enumerate(ids) if id == _PAD][: len(references)]
        messages = [place for place, id in enumerate(ids) if id == _MESSAGE]
        if len(pads) < len(references) or len(messages) < 2:
            continue
        start = messages[1] + 3  # the encoder cuts off all before the user's text
        counts = likeliest_counts(
            [_sizes(latents, side) for latents in references], rows - (len(ids) - start - len(pads))
        )
        if counts:
            return tuple(_places(pads, counts, start))
    return ()


def _sizes(latents: Tensor, side: int) -> dict[int, float]:
    """How many rows a picture may have, each with how far its sides are from those that the latents tell."""
    height, width = latents.shape[-2:]
    scale = side / math.sqrt(height * width) / _PATCH
    near = [[n for n in range(1, 2 + math.ceil(length * scale)) if abs(n - length * scale) <= _LEEWAY]
            for length in (height, width)]  # fmt: skip
    found: dict[int, float] = {}
    for down, across in itertools.product(*near):
        away = abs(down - height * scale) + abs(across - width * scale)
        found[down * across] = min(away, found.get(down * across, math.inf))
    return found


def likeliest_counts(sizes: Sequence[Mapping[int, float]], total: int) -> tuple[int, ...] | None:
    """The likeliest rows of each picture that make so many together; None where none do.

    sizes: of each picture as `_sizes` gives them. Of equally likely ones the first as they stand there.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}  # by the rows of the pictures seen, from the last
    for size in reversed(sizes):
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for count, own in size.items():
            for rows, (away, counts) in best.items():
                whole = count + rows
                if whole <= total and (whole not in longer or own + away < longer[whole][0]):
                    longer[whole] = own + away, (count, *counts)
        best = longer
    return best[total][1] if total in best else None


def _places(pads: Sequence[int], counts: Sequence[int], start: int) -> Iterator[range]:
    """Each picture's rows, in place of one token of the template and text."""
    longer = 0
    for pad, count in zip(pads, counts, strict=True):
        first = pad - start + longer
        yield range(first, first + count)
        longer += count - 1
