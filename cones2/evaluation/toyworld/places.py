"""Where the objects of a scene are: squares of random sides anywhere in the picture."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

SIZE = 64  # pixels of a picture's side
MARGIN = 1.0  # pixels between a square and the picture's edge
SMALLEST_SIDE = 15.0  # pixels
# Largest side of an object in pixels, by the number of objects in the scene.
LARGEST_SIDE = {1: 42.0, 2: 31.0, 3: 27.0, 4: 25.0, 5: 22.0, 6: 20.0}
MOST = max(LARGEST_SIDE)
TRIES = 40  # places tried for one square
ROUNDS = 30  # arrangements tried before the squares go into a grid
SHRINK = 0.98  # of every side, from one arrangement to the next

Square = tuple[float, float, float]  # center x, center y, side; in pixels


def random_sides(rng: random.Random, count: int) -> list[float]:
    """Sides of `count` objects, larger ones more often, largest first."""
    if count == 0:
        return []
    largest = LARGEST_SIDE[count]
    return sorted((rng.triangular(SMALLEST_SIDE, largest, largest) for _ in range(count)), reverse=True)


def apart(a: Square, b: Square) -> float:
    """Pixels between two squares; below 0 they overlap by so much in both directions."""
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) - (a[2] + b[2]) / 2


def _arranged(rng: random.Random, sides: Sequence[float], overlap: float) -> list[Square] | None:
    squares: list[Square] = []
    for side in sides:
        low, high = side / 2 + MARGIN, SIZE - side / 2 - MARGIN
        for _ in range(TRIES):
            square = (rng.uniform(low, high), rng.uniform(low, high), side)
            if all(apart(square, other) > -overlap for other in squares):
                squares.append(square)
                break
        else:
            return None
    return squares


def _in_grid(rng: random.Random, sides: Sequence[float]) -> list[Square]:
    """One square in each cell of a grid, moved about inside it and as large as it can be."""
    columns = math.ceil(math.sqrt(len(sides)))
    cell = (SIZE - 2 * MARGIN) / columns
    squares = []
    for side, place in zip(sides, rng.sample(range(columns**2), len(sides)), strict=True):
        side = min(side, 0.99 * cell)
        x, y = (MARGIN + part * cell + rng.uniform(side / 2, cell - side / 2) for part in divmod(place, columns))
        squares.append((x, y, side))
    return squares


def random_squares(rng: random.Random, sides: Sequence[float], overlap: float = 0.0) -> list[Square]:
    """Squares of these sides, which overlap by less than `overlap` pixels.

    Where they do not fit, they get a little smaller from try to try (never below the smallest
    side, unless they were), and at last they go into a grid: the time is bounded.
    """
    sides = list(sides)
    for _ in range(ROUNDS):
        squares = _arranged(rng, sides, overlap)
        if squares is not None:
            return squares
        sides = [min(side, max(SMALLEST_SIDE, side * SHRINK)) for side in sides]
    return _in_grid(rng, sides)
