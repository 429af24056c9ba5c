"""From what the detector found in a picture to a verdict about its subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layout.regions import Box
from ..cases import Case, Place, Subject
from ..scores import Seen, Verdict
from ..variety import silhouette
from .detector import GRID, Detector, Found, detect
from .world import BACKGROUNDS, CUSTOM, GROUND

Sight = Mapping[str, Found]  # class → what the detector found of it in one picture

_SKY, _FLOOR = 8, 22  # rows of 32: above the one and below the other a background has one color
_LEAST = 13  # free cells below which a half says nothing


def verdicts(detector: Detector, pictures: Tensor, cases: Sequence[Case]) -> list[Verdict]:
    """The verdict about each picture [B, 3, 64, 64] in [0, 1] of its case."""
    return [
        verdict(found, case.subjects, background_of(picture, found) == case.background)
        for found, picture, case in zip(
            detect(detector, pictures, [_apart(case.subjects) for case in cases]), pictures, cases, strict=True
        )
    ]


def _apart(subjects: Sequence[Subject]) -> dict[str, dict[str, Tensor]]:
    """Class → phrase → the cells [32, 32] nearest to its place, of the classes that several subjects have."""
    twins = [subject for subject in subjects if subject.occurrence is not None and isinstance(subject.place, Tensor)]
    centers = {subject.phrase: _center(subject.place) for subject in twins if isinstance(subject.place, Tensor)}
    axis = (torch.arange(GRID) + 0.5) / GRID
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    found: dict[str, dict[str, Tensor]] = {}
    for word in dict.fromkeys(subject.word for subject in twins):
        own = [subject.phrase for subject in twins if subject.word == word]
        distances = torch.stack([torch.hypot(y - centers[one][0], x - centers[one][1]) for one in own])
        found[word] = {one: distances.argmin(0) == index for index, one in enumerate(own)}
    return found


def _center(place: Tensor) -> tuple[float, float]:
    """The middle of a mask [H, W], (y, x) in fractions."""
    middle = (place.nonzero().float().mean(0) + 0.5) / torch.tensor(place.shape)
    return float(middle[0]), float(middle[1])


def verdict(found: Sight, subjects: Sequence[Subject], background: bool | None = None) -> Verdict:
    """What was seen of the named subjects, and which classes are there unasked."""
    named = {subject.phrase for subject in subjects}
    seen = tuple(_seen(found.get(subject.phrase), subject, subjects) for subject in subjects)
    return Verdict(seen, tuple(sorted(set(found) - named)), background)


def _seen(thing: Found | None, subject: Subject, subjects: Sequence[Subject]) -> Seen:
    if thing is None:
        return Seen(subject.word, subject.name)
    own, shown = _colors(subject.name), thing.look.colors
    strange = shown - own
    return Seen(
        word=subject.word,
        name=subject.name,
        there=True,
        in_place=subject.place is None or inside(thing, subject.place),
        overlap=0.0 if subject.place is None else overlap(thing, subject.place),
        own=shown == own,
        exact=thing.look == CUSTOM.get(subject.name),
        foreign=bool(own) and bool(strange),
        leaked=tuple(other.name for other in subjects if other is not subject and strange & _colors(other.name)),
        silhouette=silhouette(thing.cells),
    )


def _colors(name: str) -> frozenset[str]:
    """The colors of a custom subject; none for a subject that is any of its kind."""
    return CUSTOM[name].colors if name else frozenset()


def inside(thing: Found, place: Place) -> bool:
    """Whether the object's center lies there."""
    if isinstance(place, Box):
        return place.x <= thing.x < place.x + place.width and place.y <= thing.y < place.y + place.height
    return thing.center_in(place)


def overlap(thing: Found, place: Place) -> float:
    """Intersection over union of the object's cells and the place: 0–1, on the finer of both grids."""
    if isinstance(place, Box):
        place = _on_cells(place, thing.cells.shape[0])
    cells = F.interpolate(thing.cells[None, None].float(), tuple(place.shape))[0, 0] > 0
    return int((place & cells).sum()) / int((place | cells).sum())


def _on_cells(box: Box, size: int) -> Tensor:
    filled = torch.zeros(size, size, dtype=torch.bool)
    rows = slice(round(box.y * size), round((box.y + box.height) * size))
    filled[rows, round(box.x * size) : round((box.x + box.width) * size)] = True
    return filled


def background_of(picture: Tensor, found: Sight) -> str:
    """The background whose two colors the cells beside all objects of a picture [3, 64, 64] are nearest to."""
    size = 32
    free = torch.ones(size, size, dtype=torch.bool)
    for thing in found.values():
        grown = F.max_pool2d(thing.cells[None, None].float(), 3, 1, 1)[0, 0]
        free &= F.interpolate(grown[None, None], (size, size))[0, 0] == 0
    cells = F.adaptive_avg_pool2d(picture, size)
    colors = torch.tensor(GROUND, dtype=torch.float32) / 255  # [backgrounds, 2, 3]
    halves = [
        _distances(part[:, open_], colors[:, half])
        for half, (part, open_) in enumerate(((cells[:, :_SKY], free[:_SKY]), (cells[:, _FLOOR:], free[_FLOOR:])))
        if int(open_.sum()) >= _LEAST
    ]
    return BACKGROUNDS[int(torch.stack(halves).mean(0).argmin())] if halves else ""


def _distances(cells: Tensor, colors: Tensor) -> Tensor:
    """Median distance of cells [3, n] to each color [k, 3]: [k]."""
    return (cells[None] - colors[:, :, None]).abs().sum(1).median(1).values
