"""What is drawn: cases with their subjects and regions, made from a seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..layout.regions import Box
from .choices import Shape

Place = Tensor | Box
"""A mask, bool [H, W], or a box in fractions of the picture."""

# Shortest and longest side of a box, by the number of subjects, as fractions of the picture's side.
BOX_SIDES = {1: (0.47, 0.63), 2: (0.39, 0.48), 3: (0.33, 0.42), 4: (0.30, 0.39), 5: (0.27, 0.34), 6: (0.23, 0.30)}
# Smallest and largest mean radius of a free form.
RADII = {1: (0.25, 0.31), 2: (0.22, 0.26), 3: (0.19, 0.22), 4: (0.155, 0.185), 5: (0.14, 0.16), 6: (0.12, 0.14)}
_MARGIN = 1 / 64  # between two boxes, and to the picture's edge
_TRIES = 200  # per layout, before everything is placed anew


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject of a case.

    word: its noun in the prompt. described: noun with adjectives that say its look.
    name: which specific subject it is; "" for any of its kind.
    place: where it belongs; None: anywhere.
    occurrence: which of the prompt's same nouns it is, from 1; None where no other subject has its noun.
    """

    word: str
    name: str = ""
    described: str = ""
    place: Place | None = None
    occurrence: int | None = None

    @property
    def phrase(self) -> str:
        """As layouts name it: "mug", or "mug#2" beside another mug."""
        return self.word if self.occurrence is None else f"{self.word}#{self.occurrence}"


@dataclass(frozen=True, eq=False)
class Case:
    """One picture to draw.

    name: of the case, unique in its suite: that of its scene, with "_2" and so on for further seeds.
    template: the prompt with a {} for each subject. opening: how it begins, setting: how it ends.
    background: what the setting means to the judge. seed: of the starting noise.
    """

    name: str
    template: str
    opening: str
    setting: str
    background: str
    subjects: tuple[Subject, ...]
    seed: int

    @property
    def prompt(self) -> str:
        """The prompt with the subjects' nouns."""
        return self.template.format(*(subject.word for subject in self.subjects))

    @property
    def described(self) -> str:
        """The prompt with the subjects described in words."""
        return self.template.format(*(subject.described for subject in self.subjects))

    def alone(self, subject: Subject, described: bool = False) -> str:
        """A prompt of the same opening and setting with one subject."""
        return f"{self.opening} a {subject.described if described else subject.word} {self.setting}".strip()

    @property
    def empty(self) -> str:
        """The prompt without a subject: "a picture on the beach"."""
        return f"{self.opening.removesuffix(' of')} {self.setting}".strip()


@dataclass(frozen=True, eq=False)
class Suite:
    """Cases of one kind. name: such as "2_boxes"."""

    name: str
    cases: tuple[Case, ...]


def with_seeds(case: Case, seeds: int) -> tuple[Case, ...]:
    """The case and the same scene with other seeds, which follow from its own: so many together."""
    others = (
        replace(case, name=f"{case.name}_{number}", seed=random.Random(f"{case.seed}, {number}").randrange(2**31))
        for number in range(2, seeds + 1)
    )
    return (case, *others)


def scene_name(case: str) -> str:
    """The scene of a case of that name: the same for all its seeds."""
    return case.partition("_")[0]


def moved_on(case: Case) -> Case:
    """The same prompt and seed with every region at the next subject."""
    places = [subject.place for subject in case.subjects]
    moved = zip(case.subjects, (*places[1:], *places[:1]), strict=True)
    return replace(case, subjects=tuple(replace(subject, place=place) for subject, place in moved))


def places(shape: Shape, count: int, rng: random.Random, side: int) -> list[Tensor]:
    """Regions that do not overlap, anywhere in the picture: bool masks [side, side]; for "swapped" as for "boxes"."""
    return _free_forms(count, rng, side) if shape == "free" else _boxes(count, rng, side)


def _boxes(count: int, rng: random.Random, side: int) -> list[Tensor]:
    low, high = BOX_SIDES[count]
    while True:
        boxes: list[Box] = []
        for _ in range(_TRIES):
            width, height = rng.uniform(low, high), rng.uniform(low, high)
            x, y = rng.uniform(_MARGIN, 1 - _MARGIN - width), rng.uniform(_MARGIN, 1 - _MARGIN - height)
            box = Box(x, y, width, height)
            if all(_apart(box, other) for other in boxes):
                boxes.append(box)
            if len(boxes) == count:
                return [_filled(box, side) for box in boxes]


def _apart(a: Box, b: Box) -> bool:
    beside = a.x + a.width + _MARGIN <= b.x or b.x + b.width + _MARGIN <= a.x
    return beside or a.y + a.height + _MARGIN <= b.y or b.y + b.height + _MARGIN <= a.y


def _filled(box: Box, side: int) -> Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    rows = slice(round(box.y * side), round((box.y + box.height) * side))
    mask[rows, round(box.x * side) : round((box.x + box.width) * side)] = True
    return mask


def _free_forms(count: int, rng: random.Random, side: int) -> list[Tensor]:
    low, high = RADII[count]
    while True:
        masks: list[Tensor] = []
        for _ in range(_TRIES):
            x, y = rng.uniform(low, 1 - low), rng.uniform(low, 1 - low)
            mask = _blob(x, y, rng.uniform(low, high), rng, side)
            if not any(bool((mask & other).any()) for other in masks):
                masks.append(mask)
            if len(masks) == count:
                return masks


def _blob(x: float, y: float, radius: float, rng: random.Random, side: int) -> Tensor:
    """A circle whose radius swings twice, three and five times around it."""
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    down, right = torch.meshgrid(axis - y, axis - x, indexing="ij")
    angle = torch.atan2(down, right)
    waves = ((2, rng.uniform(0.05, 0.3)), (3, rng.uniform(0.05, 0.2)), (5, 0.1))
    swing = sum(size * torch.cos(turns * angle + rng.uniform(0, 2 * math.pi)) for turns, size in waves)
    return torch.hypot(down, right) < radius * (1 + swing)


def bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what is set in a mask [H, W] that is not empty; the last two are past the end."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
