"""Reference pictures of objects: the object alone on a plain background, in another pose and size."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product

from torch import Tensor

from .world import CLASSES, COLORS, HELD_OUT, Look, Thing, render_alone

REFERENCE_SIZE = 32  # pixels of a reference picture's side
SIDES = (17.0, 27.0)  # of the object in it
LARGEST_TILT = 0.3  # radians


def reference_thing(rng: random.Random, look: Look) -> Thing:
    """An object of this look somewhere in a reference picture, hardly cut at its edges."""
    side = rng.uniform(*SIDES)
    low, high = side / 2 + 1, REFERENCE_SIZE - side / 2 - 1
    tilt = rng.uniform(-LARGEST_TILT, LARGEST_TILT)
    return Thing(look, rng.uniform(low, high), rng.uniform(low, high), side, tilt)


def reference_pictures(rng: random.Random, looks: Sequence[Look]) -> Tensor:
    """A picture of each look on a plain background of any color: [B, 3, 32, 32] in [0, 1]."""
    things = [reference_thing(rng, look) for look in looks]
    colors = [(rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in looks]
    return render_alone(things, colors)[..., :REFERENCE_SIZE, :REFERENCE_SIZE]


def known_looks() -> Iterator[Look]:
    """Every look that a scene of the training may have, always in the same order."""
    parts = (None, *COLORS)
    for kind, color, stripes, dots, badge in product(CLASSES, COLORS, parts, parts, parts):
        others = [part for part in (stripes, dots, badge) if part is not None]
        look = Look(kind, color, stripes, badge, dots)
        distinct = len({color, *others}) == 1 + len(others)
        if distinct and not (stripes and dots) and not HELD_OUT & {look, look.sayable}:
            yield look
