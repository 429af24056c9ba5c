"""Which arm is better, by how much on the same pictures, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .results import Result
from .scores import Difference, Verdict, difference

CLOSE = 0.02
"""So much below the best share is as good, when it is cheaper."""
# what pictures are compared by → the value of one picture, 0–1
COMPARED: dict[str, Callable[[Verdict], float]] = {
    "all in place": lambda verdict: float(verdict.all_in_place),
    "own look": lambda verdict: verdict.own_share,
    "all right and in place": lambda verdict: float(verdict.all_right),
}


def differences(before: Sequence[Result], after: Sequence[Result]) -> dict[str, Difference]:
    """How much better the second arm's pictures are than the first's, over the cases that both have; {} for none."""
    earlier = {result.key.case: result.verdict for result in before}
    pairs = [(earlier[result.key.case], result.verdict) for result in after if result.key.case in earlier]
    if not pairs:
        return {}
    return {
        name: difference([value(first) for first, _ in pairs], [value(second) for _, second in pairs])
        for name, value in COMPARED.items()
    }


def cheapest(arms: Sequence[tuple[str, Sequence[Result]]], what: str) -> tuple[str, str] | None:
    """The best arm by what is compared, and the one with the fewest forwards that is as good; None without pictures.

    Of several that cost as little the best, and among equals the one listed first.
    """
    value = COMPARED[what]
    means = {
        name: (sum(value(r.verdict) for r in results) / len(results), sum(r.forwards for r in results) / len(results))
        for name, results in arms
        if results
    }
    if not means:
        return None
    best = max(means, key=lambda name: means[name][0])
    as_good = [name for name in means if means[name][0] >= means[best][0] - CLOSE]
    return best, min(as_good, key=lambda name: (means[name][1], -means[name][0]))
