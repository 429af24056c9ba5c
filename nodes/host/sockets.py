"""Small adapters to what the host offers: sockets, model folders, pictures."""

from __future__ import annotations

import os

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ...cones2.assets import TOYWORLD
from ...cones2.errors import LayoutError

CATEGORY = "Cones2"
RESIDUAL_FOLDER = "residuals"
RESIDUAL_EXTENSIONS = {".safetensors", ".pt"}
DEMO_RESIDUALS = TOYWORLD / "residuals"

ResidualSocket = io.Custom("CONES2_RESIDUAL")
"""A tuple of engine Residuals: usually one; a guidance config gives all of its subjects'."""

LayoutSocket = io.Custom("CONES2_LAYOUT")
"""An engine Layout."""

BoxSocket = io.Custom("BOUNDING_BOX")
"""The host's own type as a bare socket: io.BoundingBox.Input brings a widget, and on older hosts nothing else."""


def add_residual_folder() -> None:
    """Make `models/residuals` known, beside roots that extra_model_paths.yaml has already added.

    The demo model's residuals come last: a user's file of the same name wins, and none is saved among them.
    """
    for folder in (os.path.join(folder_paths.models_dir, RESIDUAL_FOLDER), str(DEMO_RESIDUALS)):
        folder_paths.add_model_folder_path(RESIDUAL_FOLDER, folder)
    folder_paths.folder_names_and_paths[RESIDUAL_FOLDER][1].update(RESIDUAL_EXTENSIONS)


def to_picture(image: Tensor, what: str) -> Image.Image:
    """The first picture of an IMAGE batch [B, H, W, C], values 0–1. Raises LayoutError for NaN."""
    first = image[0].detach().cpu().float()
    if not torch.isfinite(first).all():
        raise LayoutError(f"{what} holds values that are not numbers (NaN or infinity)")
    pixels = (first.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def to_image(pictures: list[Image.Image]) -> Tensor:
    """Pictures of one size as an IMAGE batch [B, H, W, 3], values 0–1."""
    arrays = [np.asarray(picture.convert("RGB"), dtype=np.float32) / 255 for picture in pictures]
    return torch.from_numpy(np.stack(arrays))
