"""Inputs that must not differ between nodes, and checks of what is typed and of numbers from other nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..cones2.errors import Cones2Error
from ..cones2.guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT
from ..cones2.guidance.settings import CLOSED
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT
from ..cones2.layout.regions import DEFAULT_WEIGHT
from ..cones2.presets import AS_SET, PRESETS, Preset, find_preset, preset_lines
from ..cones2.ranges import (
    GUIDANCE_WEIGHT,
    GUIDED_STEPS,
    OUTSIDE_WEIGHT,
    PHOTO_START,
    PICTURE_SIDE,
    REGION_WEIGHT,
    STEPS,
)
from .host.sockets import LayoutSocket, ResidualSocket

PLACING = [
    "several subjects", "multiple characters", "multi subject", "area", "place", "position", "paint",
    "regional prompter", "latent couple", "gligen",
]  # fmt: skip
"""What people search who want each subject in its place."""


ADVANCED = {"advanced": True}
"""For an extra_dict: out of sight until somebody asks for it; in the classic renderer `web/advanced.js` sees to it."""


def check_numbers(**numbers: float) -> None:
    """Raise Cones2Error for NaN or infinity. The host checks what is typed, not what other nodes send."""
    for name, value in numbers.items():
        if not abs(value) <= sys.float_info.max:
            what = value if isinstance(value, float) else "too large"
            raise Cones2Error(f"{name} is {what}: it must be a finite number")


def check_table(text: str | None, parse: Callable[[str], object]) -> bool | str:
    """For `validate_inputs`: True for a table that can be read, or None (from another node); else what is wrong."""
    try:
        if text is not None:
            parse(text)
    except Cones2Error as error:
        return str(error)
    return True


def model_input() -> io.Model.Input:
    return io.Model.Input(
        "model",
        tooltip="An SD 1.x, SD 2.x or SDXL model or a diffusion transformer, with or without LoRAs and other patches.",
    )


def positive_input(id: str) -> io.Conditioning.Input:
    return io.Conditioning.Input(
        id, tooltip="The positive prompt from Scene, Text Encode or Apply Residual to Conditioning."
    )


def layout_input(tooltip: str = "", **options: Any) -> io.Custom.Input:
    fitted = "Which subject belongs where. It is fitted to the size of the picture."
    return LayoutSocket.Input("layout", tooltip=f"{fitted} {tooltip}".rstrip(), **options)


def seed_input(tooltip: str, **options: Any) -> io.Int.Input:
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, tooltip=tooltip, **options)


def steps_input(tooltip: str) -> io.Int.Input:
    return io.Int.Input("steps", default=20, min=int(STEPS.low), max=int(STEPS.high), tooltip=tooltip)


def scheduler_input(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="normal", tooltip=tooltip)


def guidance_weight_input() -> io.Float.Input:
    return io.Float.Input(
        "guidance_weight",
        display_name="layout strength",
        default=DEFAULT_GUIDANCE_WEIGHT,
        min=GUIDANCE_WEIGHT.low,
        max=GUIDANCE_WEIGHT.high,
        step=0.01,
        round=0.001,
        tooltip="How strongly the layout steers: the authors recommend 0.05 to 0.10 for Stable Diffusion; "
        "0 turns it off.",
    )


def guided_steps_input(tooltip: str) -> io.Int.Input:
    return io.Int.Input("guided_steps", default=-1, min=-1, max=int(GUIDED_STEPS.high), tooltip=tooltip)


def outside_mode_input() -> io.Combo.Input:
    return io.Combo.Input(
        "negative_mode",
        display_name="keep out of",
        options=["outside", "others"],
        default="outside",
        tooltip="Where a subject is kept out: everywhere outside its own region (outside), or only inside the "
        "regions of other subjects (others); then the background stays free.",
    )


def outside_weight_input() -> io.Float.Input:
    return io.Float.Input(
        "outside_weight",
        display_name="weight outside",
        optional=True,
        default=DEFAULT_OUTSIDE_WEIGHT,
        min=OUTSIDE_WEIGHT.low,
        max=OUTSIDE_WEIGHT.high,
        step=0.1,
        tooltip="Weight where a subject is kept out. The published -100000000 excludes it completely; small values "
        "only discourage it.",
        extra_dict=ADVANCED,
    )


def also_closed_input() -> io.Combo.Input:
    return io.Combo.Input(
        "also_closed",
        display_name="also keep from reading",
        options=list(CLOSED),
        default=CLOSED[0],
        optional=True,
        tooltip="For diffusion transformers, and not proven: what else does not read the picture outside its region: a "
        "subject's words, reference pictures that belong to a region (nor each other), or both.",
        extra_dict=ADVANCED,
    )


def photo_start_input() -> io.Float.Input:
    return io.Float.Input(
        "photo_start",
        optional=True,
        default=0.0,
        min=PHOTO_START.low,
        max=PHOTO_START.high,
        step=0.5,
        round=0.01,
        tooltip="Start from the subjects' photos: how much of their cut-outs is in the first noise. 8 to 16 look more "
        "like the photos and vary less in pose; 0 starts from plain noise. Needs the VAE.",
    )


def start_vae_input() -> io.Vae.Input:
    return io.Vae.Input("vae", optional=True, tooltip="Encodes the photos. Only photo_start needs it.")


def preset_input(instead_of: str) -> io.Combo.Input:
    return io.Combo.Input(
        "preset",
        options=[AS_SET, *PRESETS],
        default=AS_SET,
        optional=True,
        tooltip=f'Known numbers instead of {instead_of}; "{AS_SET}" takes those.\n{preset_lines()}',
    )


def chosen_preset(name: str) -> Preset | None:
    """The preset of a widget's value; None where the other widgets count. Raises Cones2Error for an unknown name."""
    return None if name == AS_SET else find_preset(name)


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
