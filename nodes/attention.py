"""Where a finished picture attends to each subject."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from .host.conditioning import Conditioning
from .host.sockets import CATEGORY


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


NODES = [Cones2SubjectAttention]
