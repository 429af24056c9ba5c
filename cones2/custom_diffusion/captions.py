"""Ordinary captions: what a merge leaves as it is when nobody gives better ones."""

from __future__ import annotations

from pathlib import Path

from ..errors import Cones2Error, DeltaError
from ..storage.files import read_limited, shown_path

CAPTIONS = 200
"""How many are used at most; as many as the published code takes."""

_MAX_BYTES = 4 << 20
_THINGS = (
    "bridge", "teapot", "violin", "forest path", "lighthouse", "bicycle", "bowl of soup", "castle", "lamp", "river",
    "wool sweater", "train", "owl", "market stall", "snowy mountain", "old book", "garden chair", "sailing boat",
    "piano", "sunflower", "desert road", "brick house", "goldfish", "wedding cake", "telescope", "waterfall", "tractor",
    "window", "rabbit", "chess board", "leather jacket", "harbor", "kite", "stone wall", "pizza", "astronaut", "rose",
    "tiger", "coffee cup", "skyscraper",
)  # fmt: skip
_SENTENCES = (
    "a {} in the morning light",
    "photo of a {} beside a wooden table",
    "two people looking at a {}",
    "the {} stands in front of a blue sky",
    "an oil sketch of one {}, bright colors",
)


def ordinary_captions() -> list[str]:
    """200 captions about 40 things, the same every time."""
    return [sentence.format(thing) for thing in _THINGS for sentence in _SENTENCES]


def read_captions(path: Path) -> list[str]:
    """The first 200 lines of a text file that are not empty. Raises DeltaError when there is none."""
    try:
        text = read_limited(path, _MAX_BYTES, "text file with captions", (".txt",)).decode("utf-8", "replace")
    except Cones2Error as error:
        raise DeltaError(str(error)) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DeltaError(f"{shown_path(path)} holds no captions: write one per line")
    return lines[:CAPTIONS]
