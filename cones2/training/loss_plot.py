"""The loss curve of a run as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from .history import Record

Point = tuple[float, float]
Bounds = tuple[float, float, float, float]

_SIZE = (960, 540)
_LEFT, _TOP, _RIGHT, _BOTTOM = 76, 28, 940, 492
_INK, _GRID, _RAW, _SMOOTH, _HELD_OUT = "#303030", "#e4e4e4", "#c3d4ea", "#2f6db5", "#d1495b"


def loss_curve(history: Sequence[Record], title: str = "") -> Image.Image:
    """The loss per step, its running mean, and the held-out error: RGB, 960 × 540 pixels."""
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    losses = [(record["step"], record["error"]) for record in history if math.isfinite(record["error"])]
    validated = [(record["step"], record["held_out"]) for record in history if "held_out" in record]
    draw.text((_LEFT, 8), title, _INK)
    if not losses:
        draw.text((_LEFT, _TOP + 8), "no steps yet", _INK)
        return picture
    bounds = _bounds(losses, validated)
    _axes(draw, bounds)
    _line(draw, losses, bounds, _RAW, 1)
    _line(draw, _smoothed(losses), bounds, _SMOOTH, 2)
    _line(draw, validated, bounds, _HELD_OUT, 2)
    for row, (text, color) in enumerate((("training error, running mean", _SMOOTH), ("held-out error", _HELD_OUT))):
        draw.text((_RIGHT - 190, _TOP + 8 + 16 * row), text, color)
    return picture


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """Running mean over a twentieth of the run."""
    decay = 1 - 1 / max(1.0, len(points) / 20)
    mean, weight, smooth = 0.0, 0.0, []
    for step, value in points:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + 1 - decay
        smooth.append((step, mean / weight))
    return smooth


def _bounds(losses: Sequence[Point], validated: Sequence[Point]) -> Bounds:
    """(first step, last step, 0, top): the top is above the 98th percentile of the losses and every validation."""
    steps, values = [step for step, _ in losses], sorted(value for _, value in losses)
    usual = values[min(len(values) - 1, int(len(values) * 0.98))]
    top = max([usual, *(value for _, value in validated)]) * 1.1
    return min(steps), max(max(steps), min(steps) + 1), 0.0, top or 1.0


def _place(point: Point, bounds: Bounds) -> Point:
    first, last, low, high = bounds
    x = _LEFT + (point[0] - first) / (last - first) * (_RIGHT - _LEFT)
    y = _BOTTOM - (min(point[1], high) - low) / (high - low) * (_BOTTOM - _TOP)
    return x, y


def _line(draw: ImageDraw.ImageDraw, points: Sequence[Point], bounds: Bounds, color: str, width: int) -> None:
    places = [_place(point, bounds) for point in points]
    if len(places) > 1:
        draw.line(places, fill=color, width=width)
    for x, y in places if len(places) <= 60 else ():
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)


def _axes(draw: ImageDraw.ImageDraw, bounds: Bounds) -> None:
    first, last, low, high = bounds
    for part in range(6):
        value, step = low + (high - low) * part / 5, first + (last - first) * part / 5
        _, y = _place((first, value), bounds)
        x, _ = _place((step, low), bounds)
        draw.line((_LEFT, y, _RIGHT, y), fill=_GRID)
        draw.text((8, y - 6), f"{value:.4g}", _INK)
        draw.text((x - 8, _BOTTOM + 8), f"{step:.0f}", _INK)
    draw.text(((_LEFT + _RIGHT) / 2 - 12, _BOTTOM + 26), "step", _INK)
