"""Values of command-line flags, read with one sentence for each mistake."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ..assets import DEMO, TOYWORLD, demo_residual
from ..messages import shown
from ..ranges import PICTURE_SIDE, Range

_LONGEST_VALUE = 80  # characters


def number_in(allowed: Range) -> Callable[[str], float]:
    """A reader of numbers of a range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if value not in allowed:
            raise _wrong(text, f"not a number from {allowed}")
        return value

    return read


def whole_in(allowed: Range) -> Callable[[str], int]:
    """A reader of whole numbers of a range."""
    low, high = int(allowed.low), int(allowed.high)

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 19 or not low <= int(text) <= high:
            raise _wrong(text, f"not a whole number from {low} to {high}")
        return int(text)

    return read


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of several names."""
    known = list(names)

    def read(text: str) -> str:
        if text not in known:
            raise _wrong(text, f"unknown: write {' or '.join(known)}")
        return text

    return read


def file_path(text: str) -> Path:
    """A reader of paths that a file system can be asked for."""
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair, as YAML's "\ud83d" writes it
        possible = False
    if not possible:
        raise _wrong(text, "not a path: it holds a character that no file name may have")
    return Path(text)


def model_path(text: str) -> Path:
    """A reader of models: paths, and "demo" for the toy model unless a model of that name is here."""
    path = file_path(text)
    if text != DEMO:
        return path
    here = path.is_file() or (path / "model_index.json").exists() or (path / "unet").exists()
    return path if here else TOYWORLD


def residual_path(text: str) -> Path:
    """A reader of residual files: paths, and "demo/dog" for one that ships unless a file of that name is here."""
    path = Path(text)
    return path if os.path.exists(path) else demo_residual(text) or path


def size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of "768x512"."""
    height, _, width = text.lower().partition("x")
    side = whole_in(PICTURE_SIDE)
    try:
        return side(height), side(width)
    except argparse.ArgumentTypeError:
        how = f"write height x width in pixels, each {PICTURE_SIDE}, e.g. 768x768, or give --width and --height"
        raise _wrong(text, f"not a size: {how}") from None


def _wrong(text: str, why: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f'"{shown(text, _LONGEST_VALUE)}" is {why}')


def with_strength(text: str) -> tuple[str, float]:
    """Read "FILE@STRENGTH": the file and its strength, 1 where none is given."""
    file, at_sign, number = text.rpartition("@")
    try:
        return (file, float(number)) if at_sign else (text, 1.0)
    except ValueError:  # an "@" in the file's name
        return text, 1.0
