"""Apply a layout to a conditioning, for any sampler."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, OutsideMode
from ..cones2.layout.regions import Layout
from .host.attention.hooks import install
from .host.bound_layout import GUIDE_KEY, Window, bind_layout
from .host.prompt_record import check_known, prompt_record
from .host.sockets import CATEGORY, LayoutSocket

class Cones2ApplyLayoutGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2ApplyLayoutGuidance",
            display_name="Apply Layout Guidance (Cones 2)",
            category=CATEGORY,
            description="Draws each subject of the prompt into its place, with any sampler. Connect both outputs to "
            "the sampler.",
            search_aliases=["regional prompting", "attention couple", "layout", "composition"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="An SD 1.x, SD 2.x or SDXL model, with or without LoRAs and other patches."
                ),
                io.Conditioning.Input(
                    "conditioning", tooltip="The positive prompt from Text Encode or Apply Residual (Cones 2)."
                ),
                LayoutSocket.Input(
                    "layout", tooltip="Which subject belongs where. It is fitted to the size of the picture."
                ),
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
                io.Int.Input(
                    "guided_steps",
                    default=-1,
                    min=-1,
                    max=10000,
                    tooltip="Guide only the first steps of the run; wins over the percents. -1: use the percents. 0: "
                    "no guidance.",
                ),
                outside_mode_input(),
                outside_weight_input(),
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
        model: Any,
        conditioning: Conditioning,
        layout: Layout,
        guidance_weight: float,
        start_percent: float,
        end_percent: float,
        guided_steps: int,
        negative_mode: OutsideMode,
        outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
    ) -> io.NodeOutput:
        window = Window(start_percent, end_percent, None if guided_steps < 0 else guided_steps)
        guided = guide_conditioning(conditioning, layout, guidance_weight, window, negative_mode, outside_weight)
        return io.NodeOutput(install(model), guided)


NODES = [Cones2ApplyLayoutGuidance]
