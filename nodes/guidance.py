"""Apply a layout to a conditioning, for any sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..cones2.guidance.settings import Closed
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, OutsideMode
from ..cones2.layout.regions import Layout
from ..cones2.presets import AS_SET
from ..cones2.rules import GuidanceSettings
from .host.attention.hooks import install
from .host.bound_layout import Window
from .host.conditioning import Conditioning, guide_conditioning, remembering
from .host.photo_start import photo_start_of
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
    start_vae_input,
)

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE


class Cones2ApplyLayoutGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2ApplyLayoutGuidance",
            display_name="Apply Layout Guidance (Cones 2)",
            category=CATEGORY,
            description="Keeps each subject of the prompt in its region, with any sampler. "
            "Connect both outputs to the sampler.",
            search_aliases=["regional prompting", "attention couple", "layout", "composition", *PLACING],
            inputs=[
                model_input(),
                positive_input("conditioning"),
                layout_input(),
                guidance_weight_input(),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the noise schedule the guidance starts (0 is pure noise).",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the noise schedule the guidance ends (1 is the finished picture).",
                ),
                guided_steps_input(
                    "Guide only the first steps of the run; wins over the percents. "
                    "-1: use the percents. 0: no guidance."
                ),
                outside_mode_input(),
                outside_weight_input(),
                photo_start_input(),
                start_vae_input(),
                preset_input("the numbers above (whether steps are repeated is up to Self Recurrence)"),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Only for a conditioning from another text node, such as an edit model's with pictures: "
                    "the CLIP it was encoded with.",
                ),
                io.String.Input(
                    "text",
                    optional=True,
                    force_input=True,
                    tooltip="Only for a conditioning from another text node: the text it was encoded from.",
                ),
                also_closed_input(),
            ],
            outputs=[
                io.Model.Output(
                    "guided_model",
                    display_name="model",
                    tooltip="The model that follows the layout of each of its conditionings.",
                ),
                io.Conditioning.Output(
                    "guided_conditioning",
                    display_name="conditioning",
                    tooltip="The prompt with its layout. It may be combined with others; each keeps its own.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        conditioning: Conditioning,
        layout: Layout,
        guidance_weight: float,
        start_percent: float,
        end_percent: float,
        guided_steps: int,
        negative_mode: OutsideMode,
        outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
        photo_start: float = 0.0,
        vae: VAE | None = None,
        preset: str = AS_SET,
        clip: CLIP | None = None,
        text: str = "",
        also_closed: Closed = "nothing",
    ) -> io.NodeOutput:
        check_numbers(guidance_weight=guidance_weight, outside_weight=outside_weight)
        check_numbers(start_percent=start_percent, end_percent=end_percent, photo_start=photo_start)
        guidance = GuidanceSettings(guidance_weight, outside_weight, negative_mode, also_closed)
        window = Window(start_percent, end_percent, None if guided_steps < 0 else guided_steps)
        if chosen := chosen_preset(preset):
            guidance, window = replace(chosen.guidance, closed=also_closed), Window(share=chosen.guided)
        photos = photo_start_of(photo_start, vae)
        conditioning = remembering(conditioning, clip, text)
        guided = guide_conditioning(conditioning, layout, guidance, window, photos)
        return io.NodeOutput(install(model), guided)


NODES = [Cones2ApplyLayoutGuidance]
