"""Tables that users type: one region per line."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..errors import LayoutError
from ..messages import shown
from ..ranges import REGION_WEIGHT
from .colors import parse_color
from .painted import ColorEntry
from .regions import DEFAULT_WEIGHT, check_region_count


class SubjectLine(NamedTuple):
    """A subject phrase and its weight inside its region."""

    subject: str
    weight: float = DEFAULT_WEIGHT


def parse_subject_lines(text: str, weight: float = DEFAULT_WEIGHT) -> list[SubjectLine]:
    """Subjects from lines "dog" or "dog @ 3" (its own weight instead of `weight`); blank lines are ignored.

    Raises LayoutError naming the line.
    """
    return [_subject_line(line, number, weight) for number, line in _lines(text)]


def parse_color_lines(text: str, weight: float = DEFAULT_WEIGHT) -> list[ColorEntry]:
    """Color table from lines "#ff0000 = dog", "255,0,0: dog" or "red = dog @ 3"; blank lines are ignored.

    Raises LayoutError naming the line.
    """
    return [_color_line(line, number, weight) for number, line in _lines(text)]


def _lines(text: str) -> list[tuple[int, str]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    check_region_count(len(lines))
    return lines


def _color_line(line: str, number: int, weight: float) -> ColorEntry:
    at = min((line.find(sign) for sign in "=:" if sign in line), default=-1)
    if at < 0:
        raise LayoutError(
            f'line {number} of the color table is "{shown(line, 80)}": write "color = subject", such as "#ff0000 = dog"'
        )
    subject = _subject_line(line[at + 1 :].strip(), number, weight)
    return ColorEntry(parse_color(line[:at].strip().strip("\"'")), subject.subject, subject.weight)


def _subject_line(line: str, number: int, weight: float) -> SubjectLine:
    subject, at_sign, typed = line.rpartition("@")
    if not at_sign:
        subject, value = line, weight
    else:
        value = _weight(typed, number)
    subject = subject.strip()
    if not subject:
        raise LayoutError(f'line {number} names no subject: write one such as "dog"')
    return SubjectLine(subject, value)


def _weight(typed: str, number: int) -> float:
    try:
        value = float(typed)
    except ValueError:
        value = math.nan
    if value not in REGION_WEIGHT:
        raise LayoutError(
            f'line {number} has the weight "{shown(typed.strip(), 80)}": '
            f'write a number from {REGION_WEIGHT} after "@", such as "dog @ 2.5"'
        )
    return value
