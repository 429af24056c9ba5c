"""Observes the cross-attention of a model that looks once at finished latents, noised again to chosen steps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from PIL import Image
from torch import Tensor

from ...cones2.errors import Cones2Error, PromptError
from ...cones2.guidance.heat_maps import AttentionRecorder, share_inside
from ...cones2.layout.drawing import heat_picture, labeled
from ...cones2.layout.tables import parse_subject_lines
from ...cones2.prompt.claims import PhraseRef, locate_subjects, parse_phrase
from .attention.call import WATCH_KEY, Watch
from .attention.hooks import follows_layouts, install
from .bound_layout import LAYOUT_KEY, BoundLayout
from .conditioning import Entry
from .prompt_record import prompt_record

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

log = logging.getLogger(__name__)

_PICTURE_SIDE = 512  # pixels of the longer side


@dataclass(frozen=True, eq=False)
class ChosenSteps:
    """Steps of a run to look at. sigmas: of the whole run [n + 1]. steps: the chosen ones of its n steps."""

    sigmas: Tensor
    steps: range


def chosen_steps(model: ModelPatcher, scheduler: str, steps: int, first_step: int, last_step: int) -> ChosenSteps:
    """The steps from `first_step` up to, but not including, `last_step` of a run. Raises Cones2Error for none."""
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
    chosen = range(len(sigmas) - 1)[first_step:last_step]
    if not chosen:
        raise Cones2Error(
            f"no step lies between first_step {first_step} and last_step {last_step} of {len(sigmas) - 1} steps"
        )
    return ChosenSteps(sigmas, chosen)


def subjects_to_observe(subjects: str, options: dict[str, Any]) -> list[PhraseRef]:
    """The typed subjects, one per line; without any those of the layout, or the residuals in the prompt."""
    bound: BoundLayout | None = options.get(LAYOUT_KEY)
    typed = [parse_phrase(line.subject) for line in parse_subject_lines(subjects)]
    if bound:
        subjects_of_layout = [parse_phrase(subject) for subject in bound.layout.subjects]
        carried = [subject for subject in subjects_of_layout if subject.phrase]
    else:
        carried = [item.concept.reference for item in prompt_record(options).placed]
    if not typed and not carried:
        raise PromptError(
            "no subject to look for: name one per line, or connect a conditioning that carries a layout or residuals"
        )
    return typed or list(dict.fromkeys(carried))


def heat_maps(
    model: ModelPatcher, entry: Entry, subjects: Sequence[PhraseRef], latents: Tensor, seed: int, chosen: ChosenSteps
) -> Tensor:
    """How much the latents [1, C, h, w] attend to each subject of the prompt: [subjects, h, w], 0–1."""
    cond, options = entry
    record = prompt_record(options)
    locate_subjects(record.tokens, subjects, record.tokenize, share=True)  # says which of them is not in the prompt
    claims = [claim for claim in record.locate(subjects) if claim is not None]
    latents = comfy.sample.fix_empty_latent_channels(model, latents)
    height, width = latents.shape[-2:]
    recorder = AttentionRecorder([claim.token_indices for claim in claims], (height, width))
    if options.get(LAYOUT_KEY) is not None and not follows_layouts(model):
        log.warning(
            "this model does not follow the layout of the conditioning, but the heat maps do: connect the model "
            "output of Apply Layout Guidance here and to the sampler"
        )
    watched = _observed(model, Watch(recorder.observe, cond.shape[1]))
    _observe(watched, [[cond, _whole_picture(options)]], latents, seed, chosen)
    return recorder.heat_maps()


def heat_pictures(maps: Tensor, subjects: Sequence[PhraseRef], options: dict[str, Any]) -> list[Image.Image]:
    """The heat maps [subjects, h, w] as labeled pictures."""
    height, width = maps.shape[-2:]
    scale = _PICTURE_SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return [
        labeled(heat_picture(heat, *size), _caption(heat, subject, options.get(LAYOUT_KEY)))
        for heat, subject in zip(maps, subjects, strict=True)
    ]


def _observed(model: ModelPatcher, watch: Watch) -> ModelPatcher:
    clone = install(model)
    clone.model_options["transformer_options"][WATCH_KEY] = watch
    return clone


def _whole_picture(options: dict[str, Any]) -> dict[str, Any]:
    """Without what confines a prompt to a part of the picture."""
    return {key: value for key, value in options.items() if key not in ("area", "mask", "set_area_to_bounds")}


def _observe(model: ModelPatcher, conditioning: Any, latents: Tensor, seed: int, chosen: ChosenSteps) -> None:
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning})
    guider.sample(
        comfy.sample.prepare_noise(latents, seed),
        latents,
        comfy.samplers.KSAMPLER(_Observation(chosen.steps)),
        chosen.sigmas,
        callback=latent_preview.prepare_callback(model, len(chosen.steps)),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


@dataclass(frozen=True)
class _Observation:
    """A sampler function that noises the finished latents to each chosen step and calls the model once."""

    steps: range

    def __call__(
        self, model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, **_: Any
    ) -> Tensor:
        model_sampling = model.inner_model.inner_model.model_sampling
        for number, step in enumerate(self.steps):
            comfy.model_management.throw_exception_if_processing_interrupted()
            noised = model_sampling.noise_scaling(sigmas[step], model.noise, model.latent_image)
            denoised = model(noised, sigmas[step] * x.new_ones(x.shape[0]), **(extra_args or {}))
            if callback is not None:
                callback({"i": number, "denoised": denoised, "x": noised})
        latents: Tensor = model.latent_image
        return latents


def _caption(heat: Tensor, subject: PhraseRef, bound: BoundLayout | None) -> str:
    regions = [region for region in bound.layout.regions if parse_phrase(region.subject) == subject] if bound else []
    if not regions:
        return str(subject)
    inside = torch.stack([region.mask for region in regions]).any(0)
    return f"{subject}: {share_inside(heat, inside):.0%} inside its region"
