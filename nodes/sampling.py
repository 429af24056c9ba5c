"""Sampling nodes: self-recurrence for any sampler, and a KSampler with a layout."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import comfy.samplers
from comfy_api.latest import io

import nodes as host_nodes

from ..cones2.guidance.settings import Closed
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, OutsideMode
from ..cones2.layout.regions import Layout
from ..cones2.presets import AS_SET
from ..cones2.rules import GuidanceSettings
from .host.attention.hooks import install
from .host.bound_layout import Window
from .host.conditioning import Conditioning, guide_again, guide_conditioning
from .host.live_attention import with_live_attention
from .host.photo_start import photo_start_of
from .host.recurrence import make_recurrent, recurrent
from .host.sockets import CATEGORY
from .inputs import (
    PLACING,
    also_closed_input,
    check_numbers,
    chosen_preset,
    guidance_weight_input,
    guided_steps_input,
    layout_input,
    model_input,
    outside_mode_input,
    outside_weight_input,
    photo_start_input,
    positive_input,
    preset_input,
    scheduler_input,
    seed_input,
    start_vae_input,
    steps_input,
)

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import VAE


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
    def execute(cls, sampler: comfy.samplers.Sampler) -> io.NodeOutput:
        return io.NodeOutput(recurrent(sampler))


class Cones2LayoutGuidedKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LayoutGuidedKSampler",
            display_name="Layout Guided KSampler (Cones 2)",
            category=CATEGORY,
            description="KSampler that keeps each subject of the positive prompt in its region.",
            search_aliases=["ksampler", "regional prompting", "layout", "sampler", *PLACING],
            inputs=[
                model_input(),
                seed_input("The random seed of the noise.", control_after_generate=True),
                steps_input("The number of denoising steps."),
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
                scheduler_input("How the noise falls from step to step."),
                positive_input("positive"),
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
                layout_input("Not connected: the one that the positive prompt carries.", optional=True),
                guidance_weight_input(),
                guided_steps_input(
                    "How many steps, from the first, follow the layout. -1: all. 0: none, a plain KSampler."
                ),
                io.Boolean.Input(
                    "recurrence",
                    display_name="follow layout twice",
                    default=True,
                    tooltip="Do every guided step twice (self-recurrence): it follows the layout better and takes "
                    "twice the time. Guided steps then run as Euler.",
                ),
                outside_mode_input(),
                outside_weight_input(),
                photo_start_input(),
                start_vae_input(),
                preset_input("guidance_weight, guided_steps, recurrence, negative_mode and outside_weight"),
                io.Boolean.Input(
                    "show_attention",
                    display_name="show attention",
                    default=False,
                    optional=True,
                    tooltip="Show on the preview where each subject's word looks, in the colors of the regions. The "
                    "picture is the same; guided steps take longer.",
                ),
                also_closed_input(),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The denoised latents."),
                io.Model.Output(
                    "guided_model", display_name="model", tooltip="The model as it ran, such as for Subject Attention."
                ),
                io.Conditioning.Output(
                    "guided_positive",
                    display_name="positive",
                    tooltip="The prompt with its layout as it ran, such as for Subject Attention.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        denoise: float,
        guidance_weight: float,
        guided_steps: int,
        recurrence: bool,
        negative_mode: OutsideMode,
        outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
        photo_start: float = 0.0,
        vae: VAE | None = None,
        preset: str = AS_SET,
        show_attention: bool = False,
        layout: Layout | None = None,
        also_closed: Closed = "nothing",
    ) -> io.NodeOutput:
        check_numbers(cfg=cfg, denoise=denoise, guidance_weight=guidance_weight, outside_weight=outside_weight)
        check_numbers(photo_start=photo_start)
        guidance = GuidanceSettings(guidance_weight, outside_weight, negative_mode, also_closed)
        window = Window(steps=None if guided_steps < 0 else guided_steps)
        if chosen := chosen_preset(preset):
            guidance, recurrence = replace(chosen.guidance, closed=also_closed), chosen.recurrence
            window = Window(share=chosen.guided)
        photos = photo_start_of(photo_start, vae)
        if layout is None:
            positive = guide_again(positive, guidance, window, photos)
        else:
            positive = guide_conditioning(positive, layout, guidance, window, photos)
        model = guided_model = install(model)
        if recurrence:
            model = guided_model.clone()
            make_recurrent(model)
        if show_attention:
            model = with_live_attention(model, positive)
        (latent,) = host_nodes.common_ksampler(
            model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=denoise
        )
        return io.NodeOutput(latent, guided_model, positive)


NODES = [Cones2SelfRecurrence, Cones2LayoutGuidedKSampler]
