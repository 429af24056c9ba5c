"""The custom subjects: five pictures of each held-out look, and the same as cut-outs."""

from __future__ import annotations

import random
from functools import cache

from torch import Tensor

from ...concepts.cutout import CutOut, cut_out
from .world import BACKGROUNDS, CUSTOM, Scene, photo_scene, render

PICTURES = 5


def subject_pictures(name: str) -> Tensor:
    """[5, 3, 64, 64] in [0, 1]: the subject alone, each time on another background."""
    return render(_scenes(name))[0]


def subject_masks(name: str) -> Tensor:
    """bool [5, 64, 64]: where the subject is in these pictures."""
    return render(_scenes(name))[1] > 0


@cache
def cutouts(name: str) -> tuple[CutOut, ...]:
    """The subject cut out of its five pictures, as exactly as the renderer knows it."""
    return tuple(cut_out(*pair) for pair in zip(subject_pictures(name), subject_masks(name), strict=True))


def empty_picture(background: str, seed: int) -> Tensor:
    """A background without objects: [3, 64, 64] in [0, 1]."""
    rng = random.Random(f"empty {background} {seed}")
    return render([Scene(background, rng.uniform(0.3, 0.6), rng.uniform(0, 6.28), ())])[0][0]


def _scenes(name: str) -> list[Scene]:
    rng = random.Random(f"subject {name}")
    backgrounds = rng.sample(BACKGROUNDS, PICTURES)
    return [photo_scene(rng, CUSTOM[name], place) for place in backgrounds]
