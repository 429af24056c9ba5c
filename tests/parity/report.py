"""What a parity case found: figures with their tolerances, and the line that tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


class NotApplicable(Exception):
    """The case reproduces a fault of the published code; the reason is the message."""


@dataclass(frozen=True)
class Figure:
    """One comparison: passes when error ≤ tolerance (NaN never does)."""

    name: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    @property
    def severity(self) -> float:
        """How far the error goes into its tolerance: above 1 it fails."""
        if self.error != self.error:
            return float("inf")
        return self.error / self.tolerance if self.tolerance > 0 else (float("inf") if self.error else 0.0)


@dataclass
class Outcome:
    """All figures of one case. notes: what was stored but cannot be compared, and why."""

    case: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.figures) and all(figure.ok for figure in self.figures)

    def line(self) -> str:
        """Case, worst figure, its error and tolerance, verdict."""
        if not self.figures:
            return f"{self.case}: nothing stored to compare — FAILED"
        worst = max(self.figures, key=lambda figure: (figure.severity, figure.tolerance))
        verdict = "ok" if self.ok else "FAILED"
        return (
            f"{self.case}: {worst.name}: error {worst.error:.2e}, tolerance {worst.tolerance:.3g} "
            f"(worst of {len(self.figures)} figures) — {verdict}"
        )


def difference(name: str, ours: Tensor, stored: Tensor, tolerance: float) -> Figure:
    """Largest absolute difference; infinite where the shapes differ."""
    if ours.shape != stored.shape:
        return Figure(f"{name} has shape {tuple(ours.shape)}, stored {tuple(stored.shape)}", float("inf"), tolerance)
    error = (ours.double() - stored.double()).abs().max() if ours.numel() else torch.tensor(0.0)
    return Figure(name, float(error), tolerance)


def mismatches(name: str, ours: Sequence[object], stored: Sequence[object]) -> Figure:
    """Number of entries that differ; none may."""
    unequal = sum(left != right for left, right in zip(ours, stored, strict=False))
    return Figure(name, float(unequal + abs(len(ours) - len(stored))), 0.0)
