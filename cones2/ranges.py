"""What each number may be: one table for configs, flags and widgets."""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """Lowest and highest allowed value, both included."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


STEPS = Range(1, 10_000)
GUIDED_STEPS = Range(0, 10_000)
GUIDANCE_WEIGHT = Range(0, 1000)
"""g; 0.05–0.10 recommended."""

REGION_WEIGHT = Range(-1e6, 1e6)
"""Inside a region; 2.5 published, a negative one keeps the subject out."""

OUTSIDE_WEIGHT = Range(-1e30, 0)
COLOR_TOLERANCE = Range(0, 442)
"""Euclidean distance in RGB; black and white are 441.7 apart."""

CFG = Range(0, 1000)
PHOTO_START = Range(0, 1000)
"""How much of the photos is in the starting noise; 0 for none, 8 recommended."""

REFERENCE_SCALE = Range(0, 10)
"""Factor on all that subjects' pictures add; 0.75 published, 0.65 with a resampler."""

REFERENCE_STRENGTH = Range(0, 10)
"""Factor on what one subject's pictures add."""

REFERENCE_EDGE = Range(0, 0.5)
"""Soft border of a subject's pictures, as a share of the picture's shorter side."""

REFERENCE_OUTSIDE = Range(0, 1)
"""How much a subject's pictures count outside its region."""

DELTA_STRENGTH = Range(-10, 10)
"""Factor on the difference that a Custom Diffusion delta makes; 1 as learned."""

PICTURE_SIDE = Range(1, 16_384)
"""Pixels."""

SEED = Range(0, 2**63 - 1)
PICTURES = Range(1, 10_000)
"""Pictures of one prompt in one run."""

ENTRIES = Range(1, 1000)
"""Entries of a guidance config."""

SUBJECTS = Range(1, 1000)
"""Subjects of one file of `train-all`."""

TRAINING_STEPS = Range(1, 1_000_000)
LEARNING_RATE = Range(1e-12, 100)
BATCH_SIZE = Range(1, 1024)
MAX_PHRASE = 200
"""Characters of a subject's phrase."""

MAX_TOKENS = 75
"""Tokens of a residual: what one chunk of a prompt holds."""

MAX_REGIONS = 32
"""Regions of one layout; each costs a picture of memory."""
