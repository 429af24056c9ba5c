"""CLIP image encoders of transformers, and subjects with pictures as a diffusers model and an adapter see them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..concepts.cutout import CutOut
from ..concepts.pictured import PicturedSubject, on_white
from ..errors import AdapterError
from ..messages import shown
from ..picture_adapter.adapter import PictureAdapter
from ..picture_adapter.projection import check_features
from ..picture_adapter.references import Reference, References, make_references
from ..picture_adapter.shares import RegionShares
from ..storage.files import shown_path
from .latent_model import DiffusersModel

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """A CLIPVisionModelWithProjection."""

    network: Any

    @property
    def side(self) -> int:
        """Of the pictures that it takes, in pixels."""
        return int(self.network.config.image_size)

    def pixels(self, picture: Image.Image) -> Tensor:
        """A picture as the network takes it: [1, 3, side, side], normalized; of one that is not a square the middle."""
        scale = self.side / min(picture.size)
        width, height = (max(self.side, int(length * scale)) for length in picture.size)
        small = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        square = small.crop((left, top, left + self.side, top + self.side))
        values = torch.from_numpy(np.asarray(square).astype(np.float32) / 255)
        return ((values - torch.tensor(_MEAN)) / torch.tensor(_DEVIATION)).permute(2, 0, 1)[None]

    def zeros(self) -> Tensor:
        """The pixels of a gray picture of mean color: zero after normalization."""
        return torch.zeros(1, 3, self.side, self.side)

    @torch.inference_mode()
    def features(self, adapter: PictureAdapter, pixels: Tensor) -> Tensor:
        """What the adapter reads of pictures [B, 3, side, side]: [B, f], or [B, patches + 1, f] of "plus" adapters.

        Raises AdapterError when this is not the encoder that the adapter was made with.
        """
        parameter = next(self.network.parameters())
        output = self.network(pixels.to(parameter.device, parameter.dtype), output_hidden_states=adapter.is_plus)
        features: Tensor = (output.hidden_states[-2] if adapter.is_plus else output.image_embeds).float()
        check_features(adapter, features)
        return features


def load_image_encoder(folder: Path | str, device: torch.device | str = "cpu") -> ImageEncoder:
    """The CLIP image encoder in a transformers folder, or in its subfolder "image_encoder". Raises AdapterError."""
    folder = Path(folder)
    inside = folder / "image_encoder"
    folder = inside if os.path.isfile(inside / "config.json") else folder
    if not os.path.isfile(folder / "config.json"):
        raise AdapterError(f"{shown_path(folder)} holds no image encoder: it has no config.json")
    from transformers import CLIPVisionModelWithProjection

    try:
        loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers and safetensors raise many kinds for damaged or other models
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AdapterError(f"{shown_path(folder)} holds no CLIP image encoder: {shown(reason)}") from error
    network, report = loaded
    lacking = [key for key in report["missing_keys"] if not key.endswith("position_ids")]
    if lacking:
        raise AdapterError(f"{shown_path(folder)} holds no CLIP image encoder: it lacks {shown(sorted(lacking)[0])}")
    return ImageEncoder(network.to(device).eval().requires_grad_(False))


def references_of(
    model: DiffusersModel,
    adapter: PictureAdapter,
    encoder: ImageEncoder,
    subjects: Sequence[PicturedSubject],
    scale: float,
    shares: RegionShares | None = None,
) -> References:
    """The subjects' pictures for sampling with a model.

    Raises AdapterError when adapter, encoder and model do not belong together.
    """
    adapter.check_layers(model.cross_attention_widths)
    references = [
        Reference(
            subject.reference,
            torch.cat(
                [encoder.features(adapter, encoder.pixels(cutout_picture(cutout))) for cutout in subject.cutouts]
            ),
            name_rows(model, subject.reference.phrase),
            subject.strength,
        )
        for subject in subjects
    ]
    zero = encoder.features(adapter, encoder.zeros()) if adapter.is_plus else torch.zeros(1, adapter.feature_width)
    return make_references(adapter, references, zero, scale, shares)


@torch.inference_mode()
def name_rows(model: DiffusersModel, name: str) -> Tensor:
    """A name encoded alone, without start and end token: [n, d]."""
    encoded = model.encode_prompts(name)[0]
    return encoded.conditioning.embeds[0, [token.index for token in encoded.tokens.tokens]]


def cutout_picture(cutout: CutOut) -> Image.Image:
    """A cut-out on a white square, as an image encoder is shown it."""
    pixels = (on_white(cutout).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(pixels)
