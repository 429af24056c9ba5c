"""Suites of the toy world: scenes of one to six custom subjects, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

from ...errors import ConfigError
from ..cases import Case, Subject, Suite, moved_on, places, with_seeds
from ..choices import Looks, Shape
from .captions import PLACE, joined
from .world import BACKGROUNDS, CUSTOM, SIZE, SUBJECTS, WORDLESS_SUBJECTS, Look

OPENINGS = ("a photo of", "a picture of", "an image of", "a rendition of", "the photo of", "a good photo of")
DETERMINERS = ("a", "a", "the", "one")

_SUBJECTS: Mapping[Looks, Mapping[str, Look]] = {"sayable": SUBJECTS, "wordless": WORDLESS_SUBJECTS, "all": CUSTOM}


@cache
def toy_suite(subjects: int, shape: Shape, count: int, seed: int, looks: Looks = "sayable", seeds: int = 1) -> Suite:
    """`count` scenes of so many subjects in regions of one shape; "swapped" are the scenes of "boxes" moved on by one.

    seeds: pictures of each scene.

    "twins" are two subjects of one class, each with a look of its own, whatever `looks` says.

    The first scenes of a longer suite are those of a shorter one.
    """
    if shape == "twins" and subjects != 2:
        raise ConfigError(f"twins are two subjects of one class, not {subjects}: ask for them alone, with 2 subjects")
    layouts: Shape = "boxes" if shape == "swapped" else shape
    kind = "" if looks == "sayable" else f"_{looks}"
    rng = random.Random(f"toy world, {subjects} {layouts}{kind}, {seed}")
    scenes = [_case(f"{index:04}", subjects, layouts, rng, _SUBJECTS[looks]) for index in range(count)]
    cases = tuple(case for scene in scenes for case in with_seeds(scene, seeds))
    return Suite(f"{subjects}_{shape}{kind}", tuple(map(moved_on, cases)) if shape == "swapped" else cases)


def described(name: str) -> str:
    """A subject's look in words, as far as captions tell it: "white striped blue dog"."""
    look = CUSTOM[name]
    return " ".join([*([look.stripes, "striped"] if look.stripes else []), look.color, look.kind])


def _case(name: str, count: int, shape: Shape, rng: random.Random, looks: Mapping[str, Look]) -> Case:
    chosen = _twins(rng) if shape == "twins" else _different_kinds(count, rng, looks)
    background, opening = rng.choice(BACKGROUNDS), rng.choice(OPENINGS)
    parts = [f"{rng.choice(DETERMINERS)} {{}}" for _ in chosen]
    listed = joined(parts) if rng.random() < 0.6 else " and ".join(parts)
    masks = places(shape, count, rng, SIZE)
    subjects = tuple(
        Subject(CUSTOM[one].kind, one, described(one), mask, number if shape == "twins" else None)
        for number, (one, mask) in enumerate(zip(chosen, masks, strict=True), 1)
    )
    setting = PLACE[background]
    seed = rng.randrange(2**31)
    return Case(name, f"{opening} {listed} {setting}", opening, setting, background, subjects, seed)


def _different_kinds(count: int, rng: random.Random, looks: Mapping[str, Look]) -> Sequence[str]:
    """So many subjects, no two of one class."""
    chosen: dict[str, str] = {}
    for name in rng.sample(list(looks), len(looks)):
        chosen.setdefault(looks[name].kind, name)
    return list(chosen.values())[:count]


def _twins(rng: random.Random) -> Sequence[str]:
    """Two subjects of one class, in random order."""
    by_kind: dict[str, list[str]] = {}
    for name, look in CUSTOM.items():
        by_kind.setdefault(look.kind, []).append(name)
    return rng.sample(rng.choice([names for names in by_kind.values() if len(names) > 1]), 2)
