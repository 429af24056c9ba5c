"""The small SDXL of the MIP-Adapter's reference data: UNet, text encoders and image encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cones2.diffusers_models.image_encoder import ImageEncoder
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.text import ClipText
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from tests.parity.references import Case, ParityError

HEAD_WIDTH = 16  # of the small resamplers
_END, _LENGTH, _SECOND_PAD = 49407, 77, 0


class MipModels:
    """Loads each component once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def model(self) -> DiffusersModel:
        """The small SDXL; its vocabulary and its VAE are not recorded."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        unet = self._unet()
        encoders = nn.ModuleList(
            [self._text("text_encoder", CLIPTextModel), self._text("text_encoder_2", CLIPTextModelWithProjection)]
        )
        vae: Any = None
        return DiffusersModel(
            ClipText([], encoders.eval(), penultimate=True), unet, vae, make_noise("epsilon", scaled_linear_alphas())
        )

    @cached_property
    def image_encoder(self) -> ImageEncoder:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        network = CLIPVisionModelWithProjection(CLIPVisionConfig(**self._json("image_encoder_config.json")))
        _load(network, load_file(self._folder / "image_encoder.fp16.safetensors"), "vision_model.")
        return ImageEncoder(network.eval())

    def encoded(self, ids: Sequence[int]) -> Tensor:
        """Text rows [77, d] of token ids with start and end token."""
        padded = [
            torch.tensor([[*ids, *[pad] * (_LENGTH - len(ids))]]) for pad in (_END, _SECOND_PAD)
        ]  # of the two tokenizers
        return self.model.text.embed(padded).embeds[0]

    def _unet(self) -> Any:
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel(**self._json("unet_config.json"))
        weights = load_file(self._folder / "unet.fp16.safetensors")
        unet.load_state_dict({key: value.float() for key, value in weights.items()})
        return unet.eval()

    def _text(self, name: str, kind: Any) -> Any:
        from transformers import CLIPTextConfig

        stored = load_file(self._folder / f"{name}.fp16.safetensors")
        config = CLIPTextConfig(**self._json(f"{name}_config.json"))
        index = torch.arange(config.vocab_size)
        first, second = (stored.pop(f"token_embedding.{part}").float() for part in "AB")
        stored["text_model.embeddings.token_embedding.weight"] = first[index % 256] + second[index // 256]
        network = kind(config)
        _load(network, stored, "text_model.")
        return network

    def _json(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self._folder / name).read_text())
        return data


def models_folder(case: Case, roots: Sequence[Path]) -> Path:
    """Where the small SDXL of a case is: beside its kind's folder, or in one of the roots."""
    beside = case.path.parent.parent / "models"
    candidates = [beside, *(root / part for root in roots for part in ("mip/models", "models"))]
    for folder in candidates:
        if (folder / "image_encoder_config.json").is_file():
            return folder
    raise ParityError(f"there is no mip/models in {' or '.join(str(root) for root in roots)}")


def _load(network: Any, weights: Mapping[str, Tensor], prefix: str) -> None:
    """Load into either naming of CLIP models: transformers 5 dropped the prefix of some."""
    own = network.state_dict()
    plain = not any(key.startswith(prefix) for key in own)
    state = {key.removeprefix(prefix) if plain else key: value.float() for key, value in weights.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    unfilled = [key for key in missing if not key.endswith("position_ids")]
    if unfilled or unexpected:
        raise ParityError(f"{type(network).__name__} does not fit: missing {unfilled}, unexpected {unexpected}")
