"""The layout that a conditioning carries, and when it steers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from ...cones2.guidance.weight_maps import OutsideMode, WeightMaps, weight_maps
from ...cones2.layout.regions import Layout
from ...cones2.prompt.tokens import locate_subjects
from .prompt_record import PromptRecord, knows

GUIDE_KEY = "cones2_layout"
"""Key of a conditioning's dict that holds its BoundLayout."""


class Window(NamedTuple):
    """When a layout steers: by percent of the model's noise schedule, or the first `steps` of a run (None: percent)."""

    start_percent: float = 0.0
    end_percent: float = 1.0
    steps: int | None = None

    def contains(self, sigma: float, run_sigmas: Tensor | None, model_sampling: Any) -> bool:
        """Whether a model call at noise level `sigma` is steered.

        run_sigmas: [n + 1], falling; the calls of interval i are those above run_sigmas[i + 1].
        """
        if self.steps is None or run_sigmas is None:
            first, last = (
                model_sampling.percent_to_sigma(percent) for percent in (self.start_percent, self.end_percent)
            )
            return last <= sigma <= first
        if self.steps == 0:
            return False
        return self.steps >= len(run_sigmas) - 1 or sigma > float(run_sigmas[self.steps])


@dataclass(frozen=True, eq=False)
class BoundLayout:
    """A layout bound to the words of one prompt.

    maps: W for any grid; it is copied for each run, so that no resized map outlives one. guidance_weight: g.
    """

    layout: Layout
    maps: WeightMaps
    guidance_weight: float
    window: Window

    def active(self, sigma: float, run_sigmas: Tensor | None, model_sampling: Any) -> bool:
        return self.guidance_weight != 0 and self.window.contains(sigma, run_sigmas, model_sampling)


def bind_layout(
    layout: Layout,
    record: PromptRecord,
    guidance_weight: float,
    window: Window,
    outside_mode: OutsideMode,
    outside_weight: float,
) -> BoundLayout | None:
    """The layout with the rows of those of its subjects that the prompt names; None when it names none."""
    named = [knows(record, subject) for subject in layout.subjects]
    phrases = [subject for subject, present in zip(layout.subjects, named, strict=True) if present]
    if not phrases:
        return None
    claims = iter(locate_subjects(record.tokens, phrases, record.tokenize, share=True))
    spans = [next(claims).spans if present else () for present in named]
    return BoundLayout(layout, weight_maps(layout, spans, outside_weight, outside_mode), guidance_weight, window)


def guided_intervals(guides: Sequence[BoundLayout], sigmas: Tensor, model_sampling: Any) -> range:
    """The steps of a run, from the first to the last, that start inside some layout's window; empty when none does."""
    active = [
        step
        for step in range(len(sigmas) - 1)
        if any(guide.window.contains(float(sigmas[step]), sigmas, model_sampling) for guide in guides)
    ]
    return range(active[0], active[-1] + 1) if active else range(0)
