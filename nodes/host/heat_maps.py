"""Where a finished picture attends to each subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..cones2.errors import Cones2Error, PromptError
from ..cones2.guidance.heat_maps import AttentionRecorder, share_inside
from ..cones2.layout.drawing import heat_picture, labeled
from ..cones2.layout.tables import parse_subject_lines
from ..cones2.prompt.tokens import locate_subjects
from .guidance import Conditioning
from .host.attention.hooks import OBSERVER_KEY, install
from .host.bound_layout import GUIDE_KEY, BoundLayout
from .host.prompt_record import PromptRecord, prompt_record
from .host.sockets import CATEGORY, to_image

_PICTURE_SIDE = 512


def _phrases(subjects: str, record: PromptRecord, guide: BoundLayout | None) -> list[str]:
    typed = [line.subject for line in parse_subject_lines(subjects)]
    carried = guide.layout.subjects if guide else [placed.residual.subject for placed in record.placed]
    if not typed and not carried:
        raise PromptError(
            "no subject to look for: name one per line, or connect a conditioning that carries a layout or residuals"
        )
    return typed or list(dict.fromkeys(carried))


def _observed(model: Any, recorder: AttentionRecorder) -> Any:
    clone = install(model)
    clone.model_options["transformer_options"][OBSERVER_KEY] = recorder.observe
    return clone


def _whole_picture(options: dict[str, Any]) -> dict[str, Any]:
    """Without what confines a prompt to a part of the picture."""
    return {key: value for key, value in options.items() if key not in ("area", "mask", "set_area_to_bounds")}


def _look(model: Any, conditioning: Any, samples: Tensor, seed: int, sigmas: Tensor, chosen: range) -> None:
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning})
    guider.sample(
        comfy.sample.prepare_noise(samples, seed),
        samples,
        comfy.samplers.KSAMPLER(_Look(chosen)),
        sigmas,
        callback=latent_preview.prepare_callback(model, len(chosen)),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


@dataclass(frozen=True)
class _Look:
    """A sampler function that noises the finished latents to each chosen step and calls the model once."""

    chosen: range

    def __call__(
        self, model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, **_: Any
    ) -> Tensor:
        model_sampling = model.inner_model.inner_model.model_sampling
        for number, step in enumerate(self.chosen):
            comfy.model_management.throw_exception_if_processing_interrupted()
            noised = model_sampling.noise_scaling(sigmas[step], model.noise, model.latent_image)
            denoised = model(noised, sigmas[step] * x.new_ones(x.shape[0]), **(extra_args or {}))
            if callback is not None:
                callback({"i": number, "denoised": denoised, "x": noised})
        return model.latent_image


def _pictures(heat_maps: Tensor, phrases: list[str], guide: BoundLayout | None) -> list[Image.Image]:
    height, width = heat_maps.shape[-2:]
    scale = _PICTURE_SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return [
        labeled(heat_picture(heat, *size), _caption(heat, phrase, guide))
        for heat, phrase in zip(heat_maps, phrases, strict=True)
    ]


def _caption(heat: Tensor, phrase: str, guide: BoundLayout | None) -> str:
    regions = [region for region in guide.layout.regions if region.subject == phrase] if guide else []
    if not regions:
        return phrase
    inside = torch.stack([region.mask for region in regions]).any(0)
    return f"{phrase}: {share_inside(heat, inside):.0%} inside its region"
