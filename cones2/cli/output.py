"""Lines on the terminal."""

from __future__ import annotations

import sys
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line; a progress bar that is under way is drawn again below it."""
    stream = stream or sys.stdout
    if "tqdm" in sys.modules:  # else there is no bar, and no reason to load it
        from tqdm import tqdm

        tqdm.write(line, file=stream)
    else:
        print(line, file=stream)
    stream.flush()
