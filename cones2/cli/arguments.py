"""Values of command-line flags, read with one sentence for each mistake."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable

import torch

from ..errors import ConfigError
from ..messages import shown
from ..ranges import Range


def number_in(allowed: Range) -> Callable[[str], float]:
    """A reader of numbers of a range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if value not in allowed:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from {allowed}')
        return value

    return read


def whole_in(allowed: Range) -> Callable[[str], int]:
    """A reader of whole numbers of a range."""
    low, high = int(allowed.low), int(allowed.high)

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 19 or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {low} to {high}')
        return int(text)

    return read


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of several names."""
    known = list(names)

    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f'"{text}" is unknown: write {" or ".join(known)}')
        return text

    return read


def usable_device(name: str) -> torch.device:
    """The device of that name. Raises ConfigError when it cannot be used here."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f'device "{shown(name)}" cannot be used here: {shown(str(error).splitlines()[0])}') from error
    return device


def size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of "768x512"."""
    height, _, width = text.lower().partition("x")
    sides = (height, width)
    if not all(side.isdecimal() and len(side) <= 6 and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f'"{text}" is not a size: write height x width in pixels, e.g. 768x768')
    return int(height), int(width)
