"""Inputs that must not differ between nodes."""

from __future__ import annotations

from comfy_api.latest import io

from ..cones2.guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT


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
