"""Inputs that the nodes which train have in common."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.ranges import BATCH_SIZE, LEARNING_RATE, SEED, TRAINING_STEPS
from .host.photo_folders import NO_FOLDER, photo_folders
from .inputs import ADVANCED


def model_inputs(kinds: str = "An SD 1.x, SD 2.x or SDXL model") -> list[Any]:
    """kinds: what the tooltip says of the models that fit."""
    return [
        io.Model.Input("model", tooltip=f"{kinds}. It stays as it is."),
        io.Clip.Input("clip", tooltip="Its text encoder. It stays as it is."),
        io.Vae.Input("vae", tooltip="Its VAE."),
        io.Image.Input(
            "images", optional=True, tooltip="3-6 photos of the subject: a batch, or the list of a dataset loader."
        ),
    ]


def number_inputs(steps: str) -> list[Any]:
    """steps: what the tooltip says of them."""
    return [
        io.Int.Input(
            "steps",
            display_name="steps, 0 = automatic",
            default=0,
            min=0,
            max=int(TRAINING_STEPS.high),
            tooltip=steps,
            extra_dict=ADVANCED,
        ),
        io.Float.Input(
            "learning_rate",
            display_name="learning rate, 0 = automatic",
            default=0.0,
            min=0.0,
            max=LEARNING_RATE.high,
            step=1e-7,
            round=1e-7,
            tooltip="0: the one of the method's own recipe.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "resolution",
            display_name="resolution, 0 = automatic",
            default=0,
            min=0,
            max=2048,
            step=64,
            tooltip="Side of the training pictures in pixels. 0: the size that the model was made for.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "batch_size",
            default=1,
            min=int(BATCH_SIZE.low),
            max=int(BATCH_SIZE.high),
            tooltip="Photos per forward pass; more need more memory.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "accumulation",
            display_name="accumulation, 0 = automatic",
            default=0,
            min=0,
            max=int(BATCH_SIZE.high),
            tooltip="Forward passes per update. 0: as many as the method's own recipe needs at this batch size.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=int(SEED.high),
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Decides everything random. Another seed is another training.",
        ),
    ]


def run_inputs(folder: str, kind: str) -> list[Any]:
    """folder: of models, that a `kind` of result is saved in."""
    return [
        io.String.Input(
            "save_name",
            default="",
            tooltip=f"File name in models/{folder}; numbered where another {kind} has it. Empty: not saved.",
        ),
        io.Boolean.Input(
            "gradient_checkpointing", default=False, tooltip="Much less memory, slower.", extra_dict=ADVANCED
        ),
        io.Int.Input(
            "preview_every",
            display_name="preview every, 0 = off",
            default=50,
            min=0,
            max=100000,
            tooltip="Show the loss in the node, and a quick sample every so many steps; 0: neither.",
            extra_dict=ADVANCED,
        ),
        io.Mask.Input("masks", optional=True, tooltip="White where the subject is: one mask, or one per photo."),
    ]


def photo_inputs() -> list[Any]:
    return [
        io.Autogrow.Input(
            "photos",
            template=io.Autogrow.TemplatePrefix(
                io.Image.Input("photo", tooltip="A photo of the subject, such as Load Image's."),
                prefix="photo",
                min=0,
                max=16,
            ),
            optional=True,
            tooltip="Photos of the subject, one after the other; they join those of images.",
        ),
        folder_input(
            "folder",
            "folder of photos",
            "A folder of photos inside ComfyUI's input folder. Press R after adding one. Photos that are "
            "connected join them.",
        ),
    ]


def folder_input(id: str, display_name: str, tooltip: str) -> io.Combo.Input:
    return io.Combo.Input(
        id, display_name=display_name, options=photo_folders(), default=NO_FOLDER, optional=True, tooltip=tooltip
    )


def connected_images(images: list[Tensor] | None, photos: dict[str, list[Tensor]] | None) -> list[Tensor]:
    """All photos that are connected to a node that takes lists."""
    return [*(images or []), *(image for group in (photos or {}).values() for image in group)]
