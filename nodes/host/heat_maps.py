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


class Cones2SubjectAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SubjectAttention",
            display_name="Subject Attention (Cones 2)",
            category=CATEGORY,
            description="Shows where a finished picture attends to each subject. The picture is noised again to each "
            "chosen step "
            "and the model looks at it once, so it works after any sampler.",
            search_aliases=["attention map", "heat map", "DAAM", "debug layout"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model the picture was made with, from Apply Layout Guidance or plain."
                ),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The positive prompt, with or without layout and subjects. Of a combined one the first "
                    "prompt counts.",
                ),
                io.Latent.Input(
                    "latent", tooltip="The finished latents of the sampler. Of a batch the first picture counts."
                ),
                io.String.Input(
                    "subjects",
                    multiline=True,
                    default="",
                    tooltip="One word or phrase of the prompt per line. Empty: the subjects of the layout, or the "
                    "residuals in the prompt.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    tooltip="The seed of the noise that is added again, best the sampler's.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of steps of the run."),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="The scheduler of the run."
                ),
                io.Int.Input("first_step", default=0, min=0, max=9999, tooltip="The first step to look at."),
                io.Int.Input(
                    "last_step",
                    default=10000,
                    min=0,
                    max=10000,
                    tooltip="The step to stop before; the whole run by default.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "heat_maps", tooltip="One labeled picture per subject: the mean over all layers and chosen steps."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        conditioning: Conditioning,
        latent: dict[str, Any],
        subjects: str,
        seed: int,
        steps: int,
        scheduler: str,
        first_step: int,
        last_step: int,
    ) -> io.NodeOutput:
        cond, options = conditioning[0]
        record, guide = prompt_record(options), options.get(GUIDE_KEY)
        phrases = _phrases(subjects, record, guide)
        claims = locate_subjects(record.tokens, phrases, record.tokenize, share=True)
        samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"][:1])
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
        chosen = range(len(sigmas) - 1)[first_step:last_step]
        if not chosen:
            raise Cones2Error(
                f"no step lies between first_step {first_step} and last_step {last_step} of {len(sigmas) - 1} steps"
            )
        recorder = AttentionRecorder([sum(claim.spans, ()) for claim in claims], tuple(samples.shape[-2:]))
        _look(_observed(model, recorder), [[cond, _whole_picture(options)]], samples, seed, sigmas, chosen)
        return io.NodeOutput(to_image(_pictures(recorder.heat_maps(), phrases, guide)))


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


NODES = [Cones2SubjectAttention]
