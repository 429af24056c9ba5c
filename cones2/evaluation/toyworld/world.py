"""The toy world: scenes of up to six bold objects, and how a scene becomes a picture."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .places import MOST as MOST
from .places import SIZE as SIZE
from .places import random_sides, random_squares
from .shapes import SHAPES, bank

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
DOT = 0.8  # period of the dots
DOT_RADIUS = 0.26
BADGE_RADIUS = 0.36  # of a badge's disk, its dark rim included
# How often a scene has 0, 1, … 6 objects.
COUNT_WEIGHTS = (0.04, 0.12, 0.2, 0.2, 0.2, 0.1, 0.14)
PHOTO_SIDES = (28.0, 42.0)  # of a custom subject in its photos
CLOSE_SHARE = 0.3  # of the scenes may have objects that touch
CLOSE_OVERLAP = 1.0  # pixels by which their squares may overlap
STRIPED_SHARE, DOTTED_SHARE, BADGE_SHARE = 0.4, 0.06, 0.12


@dataclass(frozen=True)
class Look:
    """Appearance of an object: its class, its color, and the color of its stripes if any.

    `badge` is the color of a disk on its middle and `dots` that of dots, which an object has
    instead of stripes. No caption ever tells these two.
    """

    kind: str
    color: str
    stripes: str | None = None
    badge: str | None = None
    dots: str | None = None

    @property
    def colors(self) -> frozenset[str]:
        """All its colors, whichever part has them."""
        return frozenset(filter(None, (self.color, self.stripes, self.badge, self.dots)))

    @property
    def sayable(self) -> Look:
        """The part of the look that words can say."""
        return Look(self.kind, self.color, self.stripes)


# Looks kept out of training: the custom subjects that words can describe.
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
# The same for looks that no words can say: a badge or dots.
WORDLESS_SUBJECTS = {
    "mug_with_badge": Look("mug", "white", badge="purple"),
    "dog_with_badge": Look("dog", "yellow", badge="red"),
    "house_with_badge": Look("house", "yellow", "green", badge="purple"),
    "dotted_ball": Look("ball", "white", dots="blue"),
    "dotted_fish": Look("fish", "purple", dots="yellow"),
    "tree_with_badge": Look("tree", "white", "blue", badge="yellow"),
}
CUSTOM = SUBJECTS | WORDLESS_SUBJECTS
HELD_OUT = frozenset(CUSTOM.values())


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


def random_look(rng: random.Random, kind: str, striped: float = STRIPED_SHARE) -> Look:
    """A look that no custom subject has, sometimes with what words cannot say."""
    while True:
        color, stripes, dots, badge = rng.sample(COLORS, 4)
        pattern = rng.random()
        look = Look(
            kind,
            color,
            stripes if pattern < striped else None,
            badge if rng.random() < BADGE_SHARE else None,
            dots if striped <= pattern < striped + DOTTED_SHARE else None,
        )
        if look not in HELD_OUT and look.sayable not in HELD_OUT:
            return look


def random_things(rng: random.Random, looks: Sequence[Look]) -> tuple[Thing, ...]:
    """Objects of these looks, anywhere in the picture."""
    overlap = CLOSE_OVERLAP if rng.random() < CLOSE_SHARE else 0.0
    squares = random_squares(rng, random_sides(rng, len(looks)), overlap)
    rng.shuffle(squares)
    return tuple(Thing(look, x, y, side, rng.gauss(0, 0.06)) for look, (x, y, side) in zip(looks, squares, strict=True))


def _on_ground(rng: random.Random, background: str, things: tuple[Thing, ...]) -> Scene:
    return Scene(background, rng.uniform(0.3, 0.6), rng.uniform(0, 2 * math.pi), things)


def random_scene(rng: random.Random, looks: Sequence[Look] | None = None, background: str | None = None) -> Scene:
    """A scene with the given looks, or with up to six random objects of different classes."""
    if looks is None:
        count = rng.choices(range(MOST + 1), COUNT_WEIGHTS)[0]
        looks = [random_look(rng, kind) for kind in rng.sample(CLASSES, count)]
    things = random_things(rng, looks)
    return _on_ground(rng, background or rng.choice(BACKGROUNDS), things)


def photo_scene(rng: random.Random, look: Look, background: str) -> Scene:
    """A photo of a custom subject: it alone, and large."""
    x, y, side = random_squares(rng, [rng.uniform(*PHOTO_SIDES)])[0]
    return _on_ground(rng, background, (Thing(look, x, y, side, rng.gauss(0, 0.06)),))


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


def _object_masks(things: Sequence[Thing]) -> tuple[torch.Tensor, ...]:
    """For each object the shape bank sampled [B, 6, N, N]; and its own coordinates u, v [B, N, N]."""
    y, x = _grid()
    half = _column([t.side / 2 for t in things])
    dx = (x - _column([t.x for t in things])) / half
    dy = (y - _column([t.y for t in things])) / half
    tilt = _column([t.tilt for t in things])
    u = torch.cos(tilt) * dx + torch.sin(tilt) * dy
    v = torch.cos(tilt) * dy - torch.sin(tilt) * dx
    shapes = bank()[[CLASSES.index(t.look.kind) for t in things]]
    masks = F.grid_sample(shapes, torch.stack([u, v], -1), align_corners=False)
    return masks, u, v


def _second_color(things: Sequence[Thing], u: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much stripe or dot there is [B, 1, N, N], and in which color [B, 3, 1, 1]."""
    stripe = torch.sigmoid(10 * torch.sin(2 * math.pi * v / STRIPE))
    du, dv = ((w / DOT - (w / DOT).round()) * DOT for w in (u, v))
    dot = torch.sigmoid(30 * (DOT_RADIUS - torch.hypot(du, dv)))
    dotted = torch.tensor([t.look.dots is not None for t in things]).view(-1, 1, 1)
    colors = [PALETTE[t.look.stripes or t.look.dots or t.look.color] for t in things]
    return torch.where(dotted, dot, stripe)[:, None], _rgb(colors)


def _with_badges(
    picture: torch.Tensor, things: Sequence[Thing], distance: torch.Tensor, inside: torch.Tensor
) -> torch.Tensor:
    """The pictures with a rimmed disk on the middle of each object that has a badge.

    distance: from an object's middle, inside: its silhouette; [B, N, N].
    """
    inside = inside * _column([t.look.badge is not None for t in things])
    rim, disk = (inside * torch.sigmoid(30 * (r - distance)) for r in (BADGE_RADIUS, BADGE_RADIUS * 0.75))
    color = _rgb([PALETTE[t.look.badge or t.look.color] for t in things])
    picture = picture * (1 - rim[:, None]) + 0.1 * rim[:, None]
    return picture * (1 - disk[:, None]) + color * disk[:, None]


def _painted(picture: torch.Tensor, things: Sequence[Thing]) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture with its object on top, and the object's silhouette [B, N, N] as booleans."""
    masks, u, v = _object_masks(things)
    first = _rgb([PALETTE[t.look.color] for t in things])
    share, second = _second_color(things, u, v)
    body, outline, alpha = (masks[:, k : k + 1] for k in range(3))
    picture = picture * (1 - outline) + 0.1 * outline
    picture = picture * (1 - body) + body * (first * (1 - share) + second * share)
    picture = picture * (1 - alpha) + masks[:, 3:] * alpha
    return _with_badges(picture, things, torch.hypot(u, v), outline[:, 0]), outline[:, 0] > 0.5


def render_alone(things: Sequence[Thing], colors: Sequence[tuple[int, int, int]]) -> torch.Tensor:
    """Each object on a plain background of its color (RGB, 0-255): [B, 3, 64, 64] in [0, 1]."""
    size = SIZE * OVERSAMPLE
    plain = _rgb(colors).expand(-1, -1, size, size)
    return F.avg_pool2d(_painted(plain, things)[0].clamp(0, 1), OVERSAMPLE)


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
