"""Inputs that must not differ between nodes, and the check of numbers that arrive from other nodes."""

from __future__ import annotations

import sys
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..cones2.errors import Cones2Error
from ..cones2.guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT
from ..cones2.layout.regions import DEFAULT_WEIGHT
from ..cones2.ranges import GUIDANCE_WEIGHT, GUIDED_STEPS, OUTSIDE_WEIGHT, PICTURE_SIDE, REGION_WEIGHT, STEPS
from .host.sockets import LayoutSocket, ResidualSocket


def check_numbers(**numbers: float) -> None:
    """Raise Cones2Error for NaN or infinity. The host checks what is typed, not what other nodes send."""
    for name, value in numbers.items():
        if not abs(value) <= sys.float_info.max:
            what = value if isinstance(value, float) else "too large"
            raise Cones2Error(f"{name} is {what}: it must be a finite number")


def model_input() -> io.Model.Input:
    return io.Model.Input("model", tooltip="An SD 1.x, SD 2.x or SDXL model, with or without LoRAs and other patches.")


def positive_input(id: str) -> io.Conditioning.Input:
    return io.Conditioning.Input(id, tooltip="The positive prompt from Text Encode or Apply Residual (Cones 2).")


def layout_input(tooltip: str = "", **options: Any) -> io.Custom.Input:
    fitted = "Which subject belongs where. It is fitted to the size of the picture."
    return LayoutSocket.Input("layout", tooltip=f"{fitted} {tooltip}".rstrip(), **options)


def seed_input(tooltip: str, **options: Any) -> io.Int.Input:
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, tooltip=tooltip, **options)


def steps_input(tooltip: str) -> io.Int.Input:
    return io.Int.Input("steps", default=20, min=int(STEPS.low), max=int(STEPS.high), tooltip=tooltip)


def scheduler_input(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip=tooltip)


def guidance_weight_input() -> io.Float.Input:
    return io.Float.Input(
        "guidance_weight",
        default=DEFAULT_GUIDANCE_WEIGHT,
        min=GUIDANCE_WEIGHT.low,
        max=GUIDANCE_WEIGHT.high,
        step=0.01,
        round=0.001,
        tooltip="How strongly the layout steers: 0.05 to 0.10 is recommended, 0 turns it off.",
    )


def guided_steps_input(tooltip: str) -> io.Int.Input:
    return io.Int.Input("guided_steps", default=-1, min=-1, max=int(GUIDED_STEPS.high), tooltip=tooltip)


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
        min=OUTSIDE_WEIGHT.low,
        max=OUTSIDE_WEIGHT.high,
        step=0.1,
        tooltip="Weight where a subject is kept out. The published -100000000 excludes it completely; small values "
        "only discourage it.",
        extra_dict={"advanced": True},
    )


def subjects_input(of: str) -> io.String.Input:
    return io.String.Input(
        "subjects",
        multiline=True,
        default="dog\nmug",
        tooltip=f"One subject of the prompt per line, in the order of the {of}. "
        '"dog#2" is the second dog of the prompt; "dog @ 3" gives it its own weight.',
    )


def region_weight_input() -> io.Float.Input:
    return io.Float.Input(
        "weight",
        default=DEFAULT_WEIGHT,
        min=REGION_WEIGHT.low,
        max=REGION_WEIGHT.high,
        step=0.1,
        tooltip="How strongly each subject is pulled towards its region (2.5 in the paper).",
    )


def side_input(id: str, of: str) -> io.Int.Input:
    return io.Int.Input(
        id,
        default=512,
        min=16,
        max=int(PICTURE_SIDE.high),
        step=8,
        tooltip=f"The {id} of {of}, in pixels.",
    )


def layout_document_input() -> io.String.Input:
    return io.String.Input(
        "layout_document",
        default="",
        tooltip="Where each subject belongs: drag to draw, ••• for more. As JSON in the workflow.",
        extra_dict={"widgetType": "CONES2_LAYOUT_PAINTER"},
    )


def linked_residuals_input(tooltip: str) -> io.Autogrow.Input:
    template = io.Autogrow.TemplatePrefix(
        ResidualSocket.Input("residual", tooltip="A subject, such as Load Residual's."),
        prefix="residual",
        min=0,
        max=16,
    )
    return io.Autogrow.Input("residuals", template=template, optional=True, tooltip=tooltip)
