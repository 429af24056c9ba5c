"""The quality gate: a small fixed run whose figures must stay within bounds that no chance crosses.

The bounds were first written down before any run, and raised once for a better model. Each leaves room for the run's
Wilson interval and more, so that a change of rounding or of the machine never fails, and a broken layout, residual,
judge or model always does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .arms import parse_arm
from .scores import Scores

SUBJECTS, COUNT, SEED = 2, 20, 1
NOTHING, LAYOUT, BOTH = "nothing", "layout,recurrence=off", "both,recurrence=off"
ARMS = tuple(parse_arm(text) for text in (NOTHING, LAYOUT, BOTH))


@dataclass(frozen=True)
class Bound:
    """A figure of an arm that may not be below `least` or above `most`, both 0–1 or counts per picture."""

    arm: str
    what: str
    of: Callable[[Scores], float]
    least: float = float("-inf")
    most: float = float("inf")

    def holds(self, figures: Scores) -> bool:
        """Whether the figures are within the bound."""
        return self.least <= self.of(figures) <= self.most

    def sentence(self, figures: Scores) -> str:
        """The figure and what it may be."""
        allowed = f"at least {self.least:g}" if self.most == float("inf") else f"at most {self.most:g}"
        return f"{self.arm}: {self.what} is {self.of(figures):.2f} (n = {figures.pictures}), {allowed} is needed"


BOUNDS = (
    Bound(NOTHING, "the share of named objects that are there", lambda s: s.there.value, least=0.70),
    Bound(NOTHING, "the share of objects in place without a layout", lambda s: s.in_place.value, most=0.60),
    Bound(NOTHING, "the share of objects with a look that nobody asked for", lambda s: s.own.value, most=0.20),
    Bound(LAYOUT, "the share of objects in place", lambda s: s.in_place.value, least=0.80),
    Bound(LAYOUT, "the share of pictures with all in place", lambda s: s.all_in_place.value, least=0.60),
    Bound(LAYOUT, "the number of unnamed objects per picture", lambda s: s.unnamed, most=1.0),
    Bound(LAYOUT, "the share of right backgrounds", lambda s: s.background.value, least=0.70),
    Bound(BOTH, "the share of objects in place", lambda s: s.in_place.value, least=0.75),
    Bound(BOTH, "the share of objects in their own colors", lambda s: s.own.value, least=0.60),
)


def problems(figures: Mapping[str, Scores]) -> list[str]:
    """A sentence for each bound that the figures (arm → scores) break."""
    return [bound.sentence(figures[bound.arm]) for bound in BOUNDS if not bound.holds(figures[bound.arm])]
