"""Lines on the terminal, and which of several processes writes them."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple, TextIO


class Rank(NamedTuple):
    """Which process this is, from 0, and how many there are."""

    number: int
    world: int

    @property
    def is_first(self) -> bool:
        """The first process sums up and waits for the others."""
        return self.number == 0


def launched() -> Rank:
    """As `accelerate launch` and `torchrun` say; one process without them."""
    return Rank(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def mark() -> str:
    """What begins a line of this process when there are several."""
    me = launched()
    return "" if me.world == 1 else f"[{me.number}] "


def say(text: str) -> None:
    """Print a line of this process."""
    write_line(f"{mark()}{text}")


def write_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line; a progress bar that is under way is drawn again below it."""
    stream = stream or sys.stdout
    if "tqdm" in sys.modules:  # else there is no bar, and no reason to load it
        from tqdm import tqdm

        tqdm.write(line, file=stream)
    else:
        print(line, file=stream)
    stream.flush()
