"""Sampling nodes: self-recurrence for any sampler, and a KSampler with a layout."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

import nodes as host_nodes

from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, OutsideMode
from ..cones2.layout.regions import Layout
from .host.attention.hooks import KEY, install
from .host.bound_layout import Window
from .host.conditioning import Conditioning, guide_conditioning
from .host.recurrence import recurrent, sample_recurrent
from .host.sockets import CATEGORY, LayoutSocket
from .inputs import guidance_weight_input, outside_mode_input, outside_weight_input


class Cones2SelfRecurrence(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SelfRecurrence",
            display_name="Self Recurrence (Cones 2)",
            category=CATEGORY,
            description="Repeats every step that a layout guides, which makes subjects follow it better. "
            "The guided steps run as Euler; your sampler does the rest. Guided steps take twice the time.",
            search_aliases=["recurrence", "resampling", "time travel", "restart"],
            inputs=[
                io.Sampler.Input(
                    "sampler", tooltip="The sampler for the steps that are not guided, such as KSamplerSelect's."
                )
            ],
            outputs=[
                io.Sampler.Output(
                    "recurrent_sampler",
                    display_name="sampler",
                    tooltip="Connect it to SamplerCustom or SamplerCustomAdvanced.",
                )
            ],
        )

    @classmethod
    def execute(cls, sampler: Any) -> io.NodeOutput:
        return io.NodeOutput(recurrent(sampler))


class Cones2LayoutGuidedKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LayoutGuidedKSampler",
            display_name="Layout Guided KSampler (Cones 2)",
            category=CATEGORY,
            description="KSampler that draws each subject of the positive prompt into its place.",
            search_aliases=["ksampler", "regional prompting", "layout", "sampler"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="An SD 1.x, SD 2.x or SDXL model, with or without LoRAs and other patches."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The random seed of the noise.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of denoising steps."),
                io.Float.Input(
                    "cfg",
                    default=7.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How closely the picture follows the prompt.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    tooltip="The sampler. With recurrence, guided steps run as Euler and the sampler does the rest.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    tooltip="How the noise falls from step to step.",
                ),
                io.Conditioning.Input(
                    "positive", tooltip="The positive prompt from Text Encode or Apply Residual (Cones 2)."
                ),
                io.Conditioning.Input("negative", tooltip="What the picture should not show. No layout applies to it."),
                io.Latent.Input(
                    "latent_image", tooltip="The latents to denoise: empty, or an encoded picture with denoise below 1."
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latents is replaced; below 1 their structure stays.",
                ),
                LayoutSocket.Input(
                    "layout", tooltip="Which subject belongs where. It is fitted to the size of the picture."
                ),
                guidance_weight_input(),
                io.Int.Input(
                    "guided_steps",
                    default=-1,
                    min=-1,
                    max=10000,
                    tooltip="How many steps, from the first, follow the layout. -1: all. 0: none, a plain KSampler.",
                ),
                io.Boolean.Input(
                    "recurrence",
                    default=True,
                    tooltip="Do every guided step twice (self-recurrence): it follows the layout better and takes "
                    "twice the time. Guided steps then run as Euler.",
                ),
                outside_mode_input(),
                outside_weight_input(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The denoised latents.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        denoise: float,
        layout: Layout,
        guidance_weight: float,
        guided_steps: int,
        recurrence: bool,
        negative_mode: OutsideMode,
        outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
    ) -> io.NodeOutput:
        window = Window(steps=None if guided_steps < 0 else guided_steps)
        positive = guide_conditioning(positive, layout, guidance_weight, window, negative_mode, outside_weight)
        model = install(model)
        if recurrence:
            model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, _sample_recurrent)
        (latent,) = host_nodes.common_ksampler(
            model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=denoise
        )
        return io.NodeOutput(latent)


NODES = [Cones2SelfRecurrence, Cones2LayoutGuidedKSampler]
