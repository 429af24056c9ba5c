"""What a judge saw, and the shares that follow, with their intervals.

Every figure that is printed about pictures is one of the fields of `Scores`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .variety import variety

Z95 = 1.96  # of the normal distribution: 95 % lie within
_RESAMPLES = 4000


class Share(NamedTuple):
    """So many of so many. n may be 0: then the share says nothing and is 0."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """0–1."""
        return self.hits / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its Wilson 95 % interval."""
        return wilson(self.hits, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}]" if self.n else "–"


def wilson(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), within 0–1; everything is possible where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    widened = 1 + z * z / n
    center = (share + z * z / (2 * n)) / widened
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / widened
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class Seen:
    """What the judge saw of one subject that the prompt names.

    word: its noun in the prompt. name: which specific subject it is; "" for any of its kind.
    there: whether such an object is in the picture. in_place: whether its center is where it belongs.
    overlap: intersection over union with its region, 0–1.
    own: whether it shows its own colors and no others. exact: whether its whole look is right.
    foreign: whether it shows a color that is not its own.
    leaked: names of the picture's other subjects of whom it shows a color that is not its own.
    silhouette: its outline (see `variety.silhouette`); "" where it is not there or nobody looked.
    """

    word: str
    name: str = ""
    there: bool = False
    in_place: bool = False
    overlap: float = 0.0
    own: bool = False
    exact: bool = False
    foreign: bool = False
    leaked: tuple[str, ...] = ()
    silhouette: str = ""

    @property
    def right(self) -> bool:
        """In place and in its own colors."""
        return self.in_place and self.own


@dataclass(frozen=True)
class Verdict:
    """What the judge saw in one picture.

    unnamed: classes of objects in it that nobody asked for.
    background: whether it is the one that was asked for; None where nobody looked.
    """

    subjects: tuple[Seen, ...]
    unnamed: tuple[str, ...] = ()
    background: bool | None = None

    @property
    def all_in_place(self) -> bool:
        """Every subject is in place."""
        return all(one.in_place for one in self.subjects)

    @property
    def all_right(self) -> bool:
        """Every subject is in place and in its own colors."""
        return all(one.right for one in self.subjects)

    @property
    def own_share(self) -> float:
        """Share of the subjects that are in their own colors, 0–1."""
        return sum(one.own for one in self.subjects) / len(self.subjects)


@dataclass(frozen=True)
class Scores:
    """The figures of a set of pictures. Shares without "all" count subjects, those with it pictures.

    The subjects of one picture are counted as independent, which they are not quite: the intervals of shares
    of subjects are a little too narrow.
    overlap: mean over subjects, 0–1. unnamed: objects that nobody asked for, per picture.
    variety: how different the poses of a subject are from seed to seed of one scene, mean, 0–1 (see `variety`);
    None where no scene was drawn with several seeds.
    """

    pictures: int
    there: Share
    all_there: Share
    in_place: Share
    all_in_place: Share
    own: Share
    exact: Share
    right: Share
    all_right: Share
    leaked: Share
    foreign: Share
    background: Share
    overlap: float
    unnamed: float
    variety: float | None


def scores(verdicts: Sequence[Verdict], scenes: Sequence[str] = ()) -> Scores:
    """The figures of these pictures. scenes: the name of each one's scene, where some have several seeds."""
    seen = [one for verdict in verdicts for one in verdict.subjects]
    looked = [verdict.background for verdict in verdicts if verdict.background is not None]
    return Scores(
        pictures=len(verdicts),
        there=_share(one.there for one in seen),
        all_there=_share(all(one.there for one in verdict.subjects) for verdict in verdicts),
        in_place=_share(one.in_place for one in seen),
        all_in_place=_share(verdict.all_in_place for verdict in verdicts),
        own=_share(one.own for one in seen),
        exact=_share(one.exact for one in seen),
        right=_share(one.right for one in seen),
        all_right=_share(verdict.all_right for verdict in verdicts),
        leaked=_share(bool(one.leaked) for one in seen),
        foreign=_share(one.foreign for one in seen),
        background=_share(looked),
        overlap=sum(one.overlap for one in seen) / max(len(seen), 1),
        unnamed=sum(len(verdict.unnamed) for verdict in verdicts) / max(len(verdicts), 1),
        variety=variety(_silhouettes(verdicts, scenes)),
    )


def by_subject(verdicts: Iterable[Verdict]) -> dict[str, Scores]:
    """Name of a specific subject → the figures of its own appearances; one without a name is left out."""
    seen: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        for one in verdict.subjects:
            if one.name:
                seen.setdefault(one.name, []).append(Verdict((one,)))
    return {name: scores(own) for name, own in sorted(seen.items())}


class Difference(NamedTuple):
    """A mean difference with its bootstrap 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """How much greater the second values are than the first of the same pictures, of which there is at least one.

    The interval is of the mean over pictures drawn anew, 4000 times from one seed (percentile bootstrap).
    """
    gains = np.array(after, dtype=np.float64) - np.array(before, dtype=np.float64)
    draws = np.random.default_rng(0).integers(0, len(gains), (_RESAMPLES, len(gains)))
    low, high = np.quantile(gains[draws].mean(1), (0.025, 0.975))
    return Difference(float(gains.mean()), float(low), float(high))


def leakage(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], Share]:
    """(subject, another one of its picture) → how often the first shows a color that only the second has."""
    counts: dict[tuple[str, str], list[int]] = {}
    for verdict in verdicts:
        for one in verdict.subjects:
            for other in verdict.subjects:
                if one is not other:
                    count = counts.setdefault((one.name, other.name), [0, 0])
                    count[0] += other.name in one.leaked
                    count[1] += 1
    return {pair: Share(*count) for pair, count in sorted(counts.items())}


def _silhouettes(verdicts: Sequence[Verdict], scenes: Sequence[str]) -> list[list[str]]:
    """Those of each subject of each scene."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for verdict, scene in zip(verdicts if scenes else (), scenes, strict=True):
        for one in verdict.subjects:
            if one.silhouette:
                groups.setdefault((scene, one.name, one.word), []).append(one.silhouette)
    return list(groups.values())


def _share(hits: Iterable[bool]) -> Share:
    values = list(hits)
    return Share(sum(values), len(values))
