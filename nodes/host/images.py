"""The host's pictures as the engine takes them, and the other way round."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...cones2.errors import LayoutError


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
