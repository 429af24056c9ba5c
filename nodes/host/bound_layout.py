"""The layout that a conditioning carries, and when it guides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ...cones2.guidance.references import picture_maps
from ...cones2.guidance.settings import Closed
from ...cones2.guidance.weight_maps import WeightMaps, weight_maps
from ...cones2.layout.regions import Layout
from ...cones2.prompt.claims import parse_phrase
from ...cones2.prompt.tokens import Span
from ...cones2.rules import GuidanceSettings
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
    share: the first part of a run's steps instead, 0–1; None for `steps`.
    """

    start_percent: float = 0.0
    end_percent: float = 1.0
    steps: int | None = None
    share: float | None = None

    def contains(self, sigma: float, run_sigmas: Tensor | None, model_sampling: ModelSamplingDiscrete) -> bool:
        """Whether a model call at noise level `sigma` is guided.

        run_sigmas: [n + 1]; the calls of step i lie between run_sigmas[i] and run_sigmas[i + 1].
        """
        steps = self.steps
        if self.share is not None and run_sigmas is not None:
            steps = round(self.share * (len(run_sigmas) - 1))
        if steps is None or run_sigmas is None:
            first, last = (
                model_sampling.percent_to_sigma(percent) for percent in (self.start_percent, self.end_percent)
            )
            return bool(last <= sigma <= first)
        if steps == 0:
            return False
        if steps >= len(run_sigmas) - 1:
            return True
        end = float(run_sigmas[steps])
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
    own: the indices of the prompt's tokens, without template and pads.
    spans: the tokens of each region in this prompt; none for a subject that it does not name.
    photos: how a run with it starts; None for plain noise.
    pictures: weights of the reference pictures that its regions are bound to; None without any.
    closed: what does not read cells outside its region.
    picture_rows: the rows of each of the prompt's reference pictures, where it holds them.
    """

    layout: Layout
    maps: WeightMaps
    guidance_weight: float
    window: Window
    own: Sequence[int] = ()
    spans: Sequence[Sequence[Span]] = ()
    photos: PhotoStart | None = None
    pictures: WeightMaps | None = None
    closed: Closed = "nothing"
    picture_rows: Sequence[range] = ()

    def active(self, sigma: float, run_sigmas: Tensor | None, model_sampling: ModelSamplingDiscrete) -> bool:
        """Whether it guides a model call at noise level `sigma`; see `Window.contains`."""
        return self.guidance_weight != 0 and self.window.contains(sigma, run_sigmas, model_sampling)


def bind_layout(
    layout: Layout,
    record: PromptRecord,
    guidance: GuidanceSettings,
    window: Window,
    photos: PhotoStart | None = None,
) -> BoundLayout | None:
    """The layout with the token indices of those of its subjects that the prompt names, and with its reference
    pictures; None without either."""
    subjects = [parse_phrase(subject) for subject in layout.subjects]
    found = iter(record.locate([subject for subject in subjects if subject.phrase]))
    claims = [next(found) if subject.phrase else None for subject in subjects]
    pictures = picture_maps(layout, [subject.picture for subject in subjects])
    if not any(claims) and pictures is None:
        return None
    spans = [claim.spans if claim else () for claim in claims]
    maps = weight_maps(layout, spans, guidance.outside_weight, guidance.outside_mode)
    return BoundLayout(
        layout, maps, guidance.guidance_weight, window, record.own, spans, photos, pictures, guidance.closed,
        record.pictures,
    )  # fmt: skip


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
