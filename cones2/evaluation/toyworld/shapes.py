"""The silhouettes of the toy world, drawn once and kept as a bank of masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

DRAWN = 192  # pixels on which one shape is drawn; it spans [-1, 1] in both directions
KEPT = 96  # pixels kept per shape
OUTLINE = 17  # width of the dark outline, in drawn pixels (filter size, odd)

BROWN, LEAF, WHITE, DARK = (110, 45, 30), (45, 125, 55), (250, 250, 250), (20, 20, 20)


class Pen:
    """Draws into the paintable body (a mask) and into fixed-color details (RGBA)."""

    def __init__(self) -> None:
        self.body = Image.new("L", (DRAWN, DRAWN), 0)
        self.detail = Image.new("RGBA", (DRAWN, DRAWN), (0, 0, 0, 0))
        self._body = ImageDraw.Draw(self.body)
        self._detail = ImageDraw.Draw(self.detail)

    def _scaled(self, *xy: float) -> list[float]:
        return [(v + 1) * DRAWN / 2 for v in xy]

    def ellipse(self, *box: float, fill: int = 255) -> None:
        self._body.ellipse(self._scaled(*box), fill=fill)

    def box(self, *box: float, radius: float = 0.0) -> None:
        self._body.rounded_rectangle(self._scaled(*box), radius=radius * DRAWN / 2, fill=255)

    def polygon(self, *xy: float) -> None:
        self._body.polygon(self._scaled(*xy), fill=255)

    def detail_ellipse(self, color: tuple[int, int, int], *box: float) -> None:
        self._detail.ellipse(self._scaled(*box), fill=(*color, 255))

    def detail_polygon(self, color: tuple[int, int, int], *xy: float) -> None:
        self._detail.polygon(self._scaled(*xy), fill=(*color, 255))


def _around(count: int, radius: float, turn: float = -math.pi / 2) -> list[tuple[float, float]]:
    angles = (turn + 2 * math.pi * k / count for k in range(count))
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def mug(pen: Pen) -> None:
    pen.ellipse(-0.05, -0.5, 0.98, 0.55)
    pen.ellipse(0.25, -0.2, 0.68, 0.25, fill=0)
    pen.box(-0.9, -0.7, 0.42, 0.85, radius=0.12)
    pen.detail_ellipse(WHITE, -0.86, -0.88, 0.38, -0.5)


def dog(pen: Pen) -> None:
    pen.polygon(-0.7, 0.1, -0.98, -0.5, -0.75, -0.6, -0.4, 0.0)
    pen.box(-0.8, -0.15, 0.5, 0.5, radius=0.25)
    pen.box(-0.78, 0.2, -0.38, 0.95)
    pen.box(0.1, 0.2, 0.5, 0.95)
    pen.ellipse(0.02, -0.9, 0.75, -0.1)
    pen.ellipse(0.45, -0.58, 0.99, -0.14)
    pen.detail_ellipse(BROWN, 0.02, -0.88, 0.3, -0.2)
    pen.detail_ellipse(DARK, 0.83, -0.55, 1.0, -0.35)


def flower(pen: Pen) -> None:
    for x, y in _around(5, 0.42):
        pen.ellipse(x - 0.34, y - 0.6, x + 0.34, y + 0.08)
    pen.detail_ellipse(BROWN, -0.22, -0.48, 0.22, -0.04)
    pen.detail_polygon(LEAF, -0.1, 0.42, 0.1, 0.42, 0.1, 0.98, -0.1, 0.98)
    pen.detail_ellipse(LEAF, -0.62, 0.55, 0.0, 0.88)
    pen.detail_ellipse(LEAF, 0.0, 0.55, 0.62, 0.88)


def house(pen: Pen) -> None:
    pen.box(-0.76, -0.15, 0.76, 0.92)
    pen.detail_polygon(BROWN, -0.98, -0.1, 0.0, -0.95, 0.98, -0.1)
    pen.detail_polygon(BROWN, -0.2, 0.3, 0.2, 0.3, 0.2, 0.92, -0.2, 0.92)


def ball(pen: Pen) -> None:
    pen.ellipse(-0.9, -0.9, 0.9, 0.9)
    pen.detail_ellipse(WHITE, -0.58, -0.6, -0.14, -0.22)


def star(pen: Pen) -> None:
    outer, inner = _around(5, 1.0), _around(5, 0.52, math.pi / 5 - math.pi / 2)
    corners = [v for pair in zip(outer, inner, strict=True) for xy in pair for v in xy]
    pen.polygon(*corners)


def tree(pen: Pen) -> None:
    pen.polygon(-0.9, 0.55, 0.0, -0.5, 0.9, 0.55)
    pen.polygon(-0.68, -0.1, 0.0, -0.98, 0.68, -0.1)
    pen.detail_polygon(BROWN, -0.22, 0.55, 0.22, 0.55, 0.22, 0.98, -0.22, 0.98)


def fish(pen: Pen) -> None:
    pen.polygon(-0.2, 0.0, -0.98, -0.65, -0.98, 0.65)
    pen.ellipse(-0.55, -0.55, 0.98, 0.55)
    pen.detail_ellipse(WHITE, 0.38, -0.32, 0.74, 0.04)
    pen.detail_ellipse(DARK, 0.5, -0.24, 0.72, -0.02)


SHAPES: dict[str, Callable[[Pen], None]] = {f.__name__: f for f in (mug, dog, flower, house, ball, star, tree, fish)}


def _masks(draw: Callable[[Pen], None]) -> np.ndarray:
    """One shape as [6, KEPT, KEPT] in [0, 1]: body, outline, detail alpha, detail RGB."""
    pen = Pen()
    draw(pen)
    alpha = pen.detail.getchannel("A")
    union = Image.fromarray(np.maximum(np.array(pen.body), np.array(alpha)))
    outline = union.filter(ImageFilter.MaxFilter(OUTLINE))
    layers = [pen.body, outline, alpha, *pen.detail.convert("RGB").split()]
    small = [layer.resize((KEPT, KEPT), Image.Resampling.BOX) for layer in layers]
    return np.stack([np.asarray(layer, dtype=np.float32) / 255 for layer in small])


@lru_cache(maxsize=1)
def bank() -> torch.Tensor:
    """All shapes, in the order of `SHAPES`: [classes, 6, KEPT, KEPT], detail RGB premultiplied."""
    return torch.from_numpy(np.stack([_masks(draw) for draw in SHAPES.values()]))
