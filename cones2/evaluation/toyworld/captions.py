"""What is said about a scene."""

from __future__ import annotations

import random
import zlib
from functools import lru_cache

import torch
import torch.nn.functional as F

from .world import BACKGROUNDS, Look, Scene, Thing

PLACE = dict(
    zip(
        BACKGROUNDS,
        ("on the beach", "in the forest", "in the snow", "in the desert", "at night", "on the grass"),
        strict=True,
    )
)
# The 27 templates of textual inversion (Gal et al., 2022), which Cones 2 trains with.
TEMPLATES = (
    "a photo of a {}", "a rendering of a {}", "a cropped photo of the {}", "the photo of a {}",
    "a photo of a clean {}", "a photo of a dirty {}", "a dark photo of the {}", "a photo of my {}",
    "a photo of the cool {}", "a close-up photo of a {}", "a bright photo of the {}",
    "a cropped photo of a {}", "a photo of the {}", "a good photo of the {}", "a photo of one {}",
    "a close-up photo of the {}", "a rendition of the {}", "a photo of the clean {}",
    "a rendition of a {}", "a photo of a nice {}", "a good photo of a {}", "a photo of the nice {}",
    "a photo of the small {}", "a photo of the weird {}", "a photo of the large {}",
    "a photo of a cool {}", "a photo of a small {}",
)  # fmt: skip
OPENINGS = (
    "a photo of", "a rendering of", "a cropped photo of", "the photo of", "a dark photo of",
    "a close-up photo of", "a bright photo of", "a good photo of", "a rendition of",
    "a picture of", "an image of", "",
)  # fmt: skip
WORDLESS_NORM = 8.0  # of a direction without words; a row has 14
FILLERS = ("clean", "dirty", "cool", "nice", "weird", "small", "large")


def look_words(thing: Thing, rng: random.Random) -> list[str]:
    """Adjectives for an object: everything ("white striped red"), or only a part."""
    look, part = thing.look, rng.random()
    if look.dots is not None:
        return [look.color]
    if look.stripes is None:
        return [look.color] if part < 0.85 else ["plain"]
    if part < 0.7:
        return [look.stripes, "striped", look.color]
    return [look.color] if part < 0.85 else ["striped", look.color]


def phrase(thing: Thing, rng: random.Random, described: float) -> str:
    """An object with its determiner and, with probability `described`, with adjectives."""
    words = [rng.choice(FILLERS)] if rng.random() < 0.08 else []
    if rng.random() < described:
        words += look_words(thing, rng)
    words.append(thing.look.kind)
    determiner = rng.choices(("a", "the", "my", "one"), (0.82, 0.12, 0.03, 0.03))[0]
    return f"{determiner} {' '.join(words)}"


def joined(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _of_background(background: str, rng: random.Random) -> str:
    """A caption of a scene without objects: "a photo of the forest", "a photo in the forest"."""
    opening = rng.choice([o for o in OPENINGS if o])
    if rng.random() < 0.5:
        return f"{opening} the {PLACE[background].split()[-1]}"
    return f"{opening.removesuffix(' of')} {PLACE[background]}"


def caption(scene: Scene, rng: random.Random, described: float = 0.7, placed: float = 0.8) -> str:
    """A caption naming every object of the scene in random order, and often the background."""
    if not scene.things:
        return _of_background(scene.background, rng)
    things = rng.sample(scene.things, len(scene.things))
    parts = [phrase(t, rng, described) for t in things]
    text = joined(parts) if rng.random() < 0.7 else " and ".join(parts)
    opening = rng.choice(OPENINGS) if rng.random() < 0.6 else "a photo of"
    place = PLACE[scene.background] if rng.random() < placed else ""
    return " ".join(filter(None, (opening, text, place)))


@lru_cache(maxsize=64)
def _direction(name: str, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    direction = torch.randn(width, generator=generator)
    return F.normalize(direction, dim=0) * WORDLESS_NORM


def wordless_rows(look: Look, width: int) -> torch.Tensor:
    """What a noun's row gains for the parts of a look that no words can say: [width].

    The denoiser was taught these directions beside the text encoder's own rows, as Stable
    Diffusion's space of rows holds looks that have no name. No caption leads there; a residual
    can.
    """
    parts = {"badge": look.badge, "dots": look.dots}
    names = [f"{part} {color}" for part, color in parts.items() if color is not None]
    return sum((_direction(name, width) for name in names), torch.zeros(width))
