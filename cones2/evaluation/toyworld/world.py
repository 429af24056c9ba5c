"""The toy world: scenes of one to three bold objects, and how a scene becomes a picture."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .shapes import SHAPES, bank

SIZE = 64  # pixels of a picture's side
OVERSAMPLE = 2
CLASSES = tuple(SHAPES)
PALETTE = {
    "red": (215, 35, 40),
    "yellow": (250, 220, 45),
    "green": (45, 165, 60),
    "blue": (45, 95, 225),
    "purple": (150, 50, 190),
    "white": (245, 245, 245),
}
COLORS = tuple(PALETTE)
BACKGROUNDS = ("beach", "forest", "snow", "desert", "night", "grass")
# upper and lower color of each background
GROUND = (
    ((80, 165, 210), (238, 214, 160)),
    ((30, 70, 40), (62, 52, 34)),
    ((175, 195, 220), (228, 233, 242)),
    ((245, 190, 120), (205, 140, 75)),
    ((20, 22, 62), (48, 44, 96)),
    ((150, 205, 225), (105, 175, 70)),
)
STRIPE = 1.0  # period of the stripes; an object spans 2
# Side of an object in pixels, by the number of objects in the scene.
SIDES = {1: (28.0, 42.0), 2: (25.0, 31.0), 3: (22.0, 26.0)}
COUNT_WEIGHTS = (0.2, 0.4, 0.4)


@dataclass(frozen=True)
class Look:
    """Appearance of an object: its class, its color, and the color of its stripes if any."""

    kind: str
    color: str
    stripes: str | None = None

    @property
    def colors(self) -> frozenset[str]:
        """Its one or two colors, whichever is the stripes'."""
        return frozenset(filter(None, (self.color, self.stripes)))


# Looks kept out of training: the custom subjects.
SUBJECTS = {
    "purple_yellow_mug": Look("mug", "purple", "yellow"),
    "blue_white_dog": Look("dog", "blue", "white"),
    "white_red_house": Look("house", "white", "red"),
    "green_purple_ball": Look("ball", "green", "purple"),
    "red_yellow_fish": Look("fish", "red", "yellow"),
    "yellow_blue_flower": Look("flower", "yellow", "blue"),
    "purple_white_star": Look("star", "purple", "white"),
    "blue_yellow_tree": Look("tree", "blue", "yellow"),
}
HELD_OUT = frozenset(SUBJECTS.values())


@dataclass(frozen=True)
class Thing:
    """An object in a scene: center and side in pixels, tilt in radians."""

    look: Look
    x: float
    y: float
    side: float
    tilt: float

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom as fractions of the picture."""
        half = self.side / 2
        corners = (self.x - half, self.y - half, self.x + half, self.y + half)
        left, top, right, bottom = (v / SIZE for v in corners)
        return left, top, right, bottom


@dataclass(frozen=True)
class Scene:
    """A background (horizon as a fraction of the height, phase of its wave) and its objects."""

    background: str
    horizon: float
    phase: float
    things: tuple[Thing, ...]


def random_look(rng: random.Random, kind: str, striped: float = 0.35) -> Look:
    """A look that no custom subject has."""
    while True:
        color = rng.choice(COLORS)
        other = rng.choice([c for c in COLORS if c != color])
        look = Look(kind, color, other if rng.random() < striped else None)
        if look not in HELD_OUT:
            return look


def _placed(rng: random.Random, count: int) -> list[tuple[float, float, float]]:
    """Centers and sides of `count` squares that do not overlap."""
    low, high = SIDES[count]
    while True:
        squares: list[tuple[float, float, float]] = []
        for _ in range(60):
            side = rng.uniform(low, high)
            x, y = (rng.uniform(side / 2 + 1, SIZE - side / 2 - 1) for _ in range(2))
            if all(max(abs(x - u), abs(y - v)) > (side + s) / 2 for u, v, s in squares):
                squares.append((x, y, side))
            if len(squares) == count:
                return squares


def random_scene(rng: random.Random, looks: Sequence[Look] | None = None, background: str | None = None) -> Scene:
    """A scene with the given looks, or with one to three random objects of different classes."""
    if looks is None:
        count = rng.choices((1, 2, 3), COUNT_WEIGHTS)[0]
        looks = [random_look(rng, kind) for kind in rng.sample(CLASSES, count)]
    things = tuple(
        Thing(look, x, y, side, rng.gauss(0, 0.06))
        for look, (x, y, side) in zip(looks, _placed(rng, len(looks)), strict=True)
    )
    background = background or rng.choice(BACKGROUNDS)
    return Scene(background, rng.uniform(0.3, 0.6), rng.uniform(0, 2 * math.pi), things)


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _rgb(colors: Sequence[tuple[int, int, int]]) -> torch.Tensor:
    return torch.tensor(colors, dtype=torch.float32).view(-1, 3, 1, 1) / 255


def _grid() -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel coordinates (y, x) of the oversampled picture, in pixels of the final one."""
    axis = (torch.arange(SIZE * OVERSAMPLE) + 0.5) / OVERSAMPLE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y[None], x[None]


def _backgrounds(scenes: Sequence[Scene]) -> torch.Tensor:
    y, x = _grid()
    index = [BACKGROUNDS.index(s.background) for s in scenes]
    upper = _rgb([GROUND[i][0] for i in index])
    lower = _rgb([GROUND[i][1] for i in index])
    wave = 0.04 * torch.sin(6 * x / SIZE + _column([s.phase for s in scenes]))
    line = _column([s.horizon for s in scenes]) + wave
    below = torch.sigmoid(40 * (y / SIZE - line))[:, None]
    return upper * (1 - below) + lower * below


def _object_masks(things: Sequence[Thing]) -> tuple[torch.Tensor, torch.Tensor]:
    """The shape bank sampled for each object [B, 6, N, N], and how much stripe [B, 1, N, N]."""
    y, x = _grid()
    half = _column([t.side / 2 for t in things])
    dx = (x - _column([t.x for t in things])) / half
    dy = (y - _column([t.y for t in things])) / half
    tilt = _column([t.tilt for t in things])
    u = torch.cos(tilt) * dx + torch.sin(tilt) * dy
    v = torch.cos(tilt) * dy - torch.sin(tilt) * dx
    shapes = bank()[[CLASSES.index(t.look.kind) for t in things]]
    masks = F.grid_sample(shapes, torch.stack([u, v], -1), align_corners=False)
    stripe = torch.sigmoid(10 * torch.sin(2 * math.pi * v / STRIPE))
    return masks, stripe[:, None]


def _painted(picture: torch.Tensor, things: Sequence[Thing]) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture with its object on top, and the object's silhouette [B, N, N] as booleans."""
    masks, stripe = _object_masks(things)
    first = _rgb([PALETTE[t.look.color] for t in things])
    second = _rgb([PALETTE[t.look.stripes or t.look.color] for t in things])
    body, outline, alpha = (masks[:, k : k + 1] for k in range(3))
    picture = picture * (1 - outline) + 0.1 * outline
    picture = picture * (1 - body) + body * (first * (1 - stripe) + second * stripe)
    return picture * (1 - alpha) + masks[:, 3:] * alpha, outline[:, 0] > 0.5


def render(scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [B, 3, 64, 64] in [0, 1] and owners [B, 64, 64]: 0, or 1 + the object's index."""
    pictures = _backgrounds(scenes)
    owners = torch.zeros(len(scenes), SIZE * OVERSAMPLE, SIZE * OVERSAMPLE, dtype=torch.uint8)
    for layer in range(max(len(s.things) for s in scenes)):
        rows = [i for i, s in enumerate(scenes) if len(s.things) > layer]
        painted, inside = _painted(pictures[rows], [scenes[i].things[layer] for i in rows])
        pictures[rows] = painted
        owners[rows] = torch.where(inside, torch.tensor(layer + 1, dtype=torch.uint8), owners[rows])
    return F.avg_pool2d(pictures.clamp(0, 1), OVERSAMPLE), owners[:, ::OVERSAMPLE, ::OVERSAMPLE]
