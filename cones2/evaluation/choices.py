"""What an evaluation can be asked for, in a file that loads no torch: the command line's help needs it."""

from __future__ import annotations

from typing import Literal, get_args

Shape = Literal["boxes", "swapped", "free", "twins"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
MOST_SUBJECTS = 6

Looks = Literal["sayable", "wordless", "all"]
LOOKS: tuple[Looks, ...] = get_args(Looks)
"""The toy world's custom subjects whose looks captions can tell, those whose looks they cannot, and both."""

ARMS = (
    "nothing", "residual", "layout", "both", "description", "oracle", "photo", "collage", "pictures", "area", "couple",
    "dense",
)  # fmt: skip
"""The names of `arms.NAMED`."""

LISTS = ("@grid", "@guided", "@peers")
"""The names of `arms.LISTS`."""

DEFAULT_ARMS = ("nothing", "residual", "layout", "both")
