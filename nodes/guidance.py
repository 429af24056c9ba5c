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

Conditioning = list[tuple[Tensor, dict[str, Any]]]


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


def guide_conditioning(
    conditioning: Conditioning,
    layout: Layout,
    guidance_weight: float,
    window: Window,
    outside_mode: OutsideMode,
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
) -> list[Any]:
    """The conditioning with the layout bound to the words of its prompts; an earlier layout is replaced.

    Each subject must stand in at least one of the combined prompts, else PromptError is raised.
    """
    records = [prompt_record(options) for _, options in conditioning]
    check_known(records, layout.subjects)
    guides = [bind_layout(layout, record, guidance_weight, window, outside_mode, outside_weight) for record in records]
    return [[cond, {**options, GUIDE_KEY: guide}] for (cond, options), guide in zip(conditioning, guides, strict=True)]


def guidance_weight_input() -> io.Float.Input:
    return io.Float.Input(
        "guidance_weight",
        default=DEFAULT_GUIDANCE_WEIGHT,
        min=0.0,
        max=10.0,
        step=0.01,
        round=0.001,
        tooltip="How strongly the layout steers: 0.05 to 0.10 is recommended, 0 turns it off.",
    )


def outside_mode_input() -> io.Combo.Input:
    return io.Combo.Input(
        "negative_mode",
        options=["outside", "others"],
        default="outside",
        tooltip="Where a subject is kept out: everywhere outside its own region, or only inside the regions of "
        "others (the background stays free).",
    )


def outside_weight_input() -> io.Float.Input:
    return io.Float.Input(
        "outside_weight",
        optional=True,
        default=DEFAULT_OUTSIDE_WEIGHT,
        min=-1e9,
        max=0.0,
        step=0.1,
        tooltip="Weight where a subject is kept out. The published -100000000 excludes it completely; small values "
        "only discourage it.",
        extra_dict={"advanced": True},
    )


NODES = [Cones2ApplyLayoutGuidance]
