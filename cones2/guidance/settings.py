"""The numbers of layout guidance, in a file that loads no torch: help and presets need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OutsideMode = Literal["outside", "others"]
Closed = Literal["nothing", "words", "references", "words and references"]
CLOSED: tuple[Closed, ...] = ("nothing", "words", "references", "words and references")
DEFAULT_GUIDANCE_WEIGHT = 0.08  # published guidance weight g; 0.05–0.10 recommended
DEFAULT_REFERENCE_WEIGHT = 0.3  # g of reference pictures, at every noise level: they are read until late
DEFAULT_OUTSIDE_WEIGHT = -1e8  # published weight outside a region: the token is masked out there


@dataclass(frozen=True)
class GuidanceSettings:
    """The numbers of layout guidance.

    guidance_weight: g; 0.05–0.10 recommended.
    outside_weight: what a subject weighs outside its region.
    outside_mode: where outside is.
    closed: what in joint attention does not read cells outside its region either: a subject's words, reference pictures
        that are bound to a region (nor each other), both or nothing.
    """

    guidance_weight: float = DEFAULT_GUIDANCE_WEIGHT
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT
    outside_mode: OutsideMode = "outside"
    closed: Closed = "nothing"


DEFAULT_GUIDANCE = GuidanceSettings()
