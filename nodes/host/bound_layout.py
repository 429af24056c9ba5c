"""The layout that a conditioning carries, and when it guides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ...cones2.guidance.weight_maps import OutsideMode, WeightMaps, weight_maps
from ...cones2.layout.regions import Layout
from ...cones2.prompt.claims import locate_present, parse_phrase
from ...cones2.prompt.tokens import Span
from .prompt_record import PromptRecord

if TYPE_CHECKING:
    from comfy.model_sampling import ModelSamplingDiscrete
    from comfy.sd import VAE

LAYOUT_KEY = "cones2_layout"
"""Key of a conditioning's dict that holds its BoundLayout."""


class Window(NamedTuple):
    """When a layout guides.

    start_percent, end_percent: of the model's noise schedule, 0–1; 0 is pure noise.
    steps: the first so many of a run instead; None for the percents.
    """

    start_percent: float = 0.0
    end_percent: float = 1.0
    steps: int | None = None

    def contains(self, sigma: float, run_sigmas: Tensor | None, model_sampling: ModelSamplingDiscrete) -> bool:
        """Whether a model call at noise level `sigma` is guided.

        run_sigmas: [n + 1]; the calls of step i lie between run_sigmas[i] and run_sigmas[i + 1].
        """
        if self.steps is None or run_sigmas is None:
            first, last = (
                model_sampling.percent_to_sigma(percent) for percent in (self.start_percent, self.end_percent)
            )
            return bool(last <= sigma <= first)
        if self.steps == 0:
            return False
        if self.steps >= len(run_sigmas) - 1:
            return True
        end = float(run_sigmas[self.steps])
        return sigma < end if run_sigmas[0] < run_sigmas[-1] else sigma > end


class PhotoStart(NamedTuple):
    """How a run starts from its subjects' photos.

    amount: how much of them is in the noise (γ of `cones2.sampling.start`), above 0.
    vae: what encodes them.
    """

    amount: float
    vae: VAE


@dataclass(frozen=True, eq=False)
class BoundLayout:
    """A layout bound to the words of one prompt.

    maps: W for any grid; each run copies it, so that no resized map outlives the run.
    guidance_weight: g; 0.05–0.10 recommended, 0 for none.
    window: when it guides.
    spans: the tokens of each region in this prompt; none for a subject that it does not name.
    photos: how a run with it starts; None for plain noise.
    """

    layout: Layout
    maps: WeightMaps
    guidance_weight: float
    window: Window
    spans: Sequence[Sequence[Span]] = ()
    photos: PhotoStart | None = None

    def active(self, sigma: float, run_sigmas: Tensor | None, model_sampling: ModelSamplingDiscrete) -> bool:
        """Whether it guides a model call at noise level `sigma`; see `Window.contains`."""
        return self.guidance_weight != 0 and self.window.contains(sigma, run_sigmas, model_sampling)


def bind_layout(
    layout: Layout,
    record: PromptRecord,
    guidance_weight: float,
    window: Window,
    outside_mode: OutsideMode,
    outside_weight: float,
    photos: PhotoStart | None = None,
) -> BoundLayout | None:
    """The layout with the token indices of those of its subjects that the prompt names; None when it names none."""
    subjects = [parse_phrase(subject) for subject in layout.subjects]
    claims = locate_present(record.tokens, subjects, record.tokenize, share=True)
    if not any(claims):
        return None
    spans = [claim.spans if claim else () for claim in claims]
    maps = weight_maps(layout, spans, outside_weight, outside_mode)
    return BoundLayout(layout, maps, guidance_weight, window, spans, photos)


def guided_steps(bound: Sequence[BoundLayout], sigmas: Tensor, model_sampling: ModelSamplingDiscrete) -> range:
    """The steps of a run, from the first to the last, that some layout guides; empty when none does.

    sigmas: [n + 1]; step i starts at sigmas[i].
    """
    active = [
        step
        for step in range(len(sigmas) - 1)
        if any(layout.active(float(sigmas[step]), sigmas, model_sampling) for layout in bound)
    ]
    return range(active[0], active[-1] + 1) if active else range(0)
