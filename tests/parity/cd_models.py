"""The small Stable Diffusion of Custom Diffusion's reference data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from cones2.custom_diffusion.base import attention_weights
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.text import ClipText
from cones2.prompt.conditioning import Conditioning
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from tests.parity.mip_models import MipModels
from tests.parity.references import Case, ParityError, References


class CdModels(MipModels):
    """Loads each component once; the vocabulary is looked for on this machine."""

    def __init__(self, folder: Path, references: References) -> None:
        super().__init__(folder)
        self._references = references

    @cached_property
    def model(self) -> DiffusersModel:
        from transformers import CLIPTextModel

        scheduler = json.loads((self._folder / "scheduler_config.json").read_text())
        alphas = scaled_linear_alphas(scheduler["beta_start"], scheduler["beta_end"], scheduler["num_train_timesteps"])
        tokenizer = self._references.tokenizer()
        tokenizers: list[Any] = [] if tokenizer is None else [EndPadded(tokenizer)]
        text = ClipText(
            tokenizers,
            nn.ModuleList([self._text("text_encoder", CLIPTextModel)]).eval(),
        )
        vae: Any = SimpleNamespace(config=_Config(block_out_channels=(1, 1, 1, 1)))
        return DiffusersModel(text, self._unet(), vae, make_noise(scheduler["prediction_type"], alphas))

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """The attention weights by diffusers name."""
        return attention_weights(self.model.unet.named_parameters())


class _Config(dict[str, Any]):
    """What the engine asks of a VAE that is not recorded: its pixels per cell."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class EndPadded:
    """A CLIP tokenizer that pads with the end token, as Stable Diffusion 1's does."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.bos_token_id, self.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.pad_token_id = tokenizer.eos_token_id

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._tokenizer(*arguments, **options)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        spelled: list[str] = self._tokenizer.convert_ids_to_tokens(ids)
        return spelled

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def cd_models(case: Case, references: References, part: str = "cd") -> Path:
    """Where the models of a case are: beside its kind's folder, or in one of the roots."""
    marks = {"cd": "tokenizer_info.json", "mip": "image_encoder_config.json"}
    beside = case.path.parent.parent
    folders = [beside / "models", beside.parent / part / "models"]
    for root in references.roots:
        folders += [root / part / "models", root / "models", root.parent / part / "models"]
    for folder in folders:
        if (folder / marks[part]).is_file() and (folder / "unet_config.json").is_file() and _is_of(part, folder):
            return folder
    raise ParityError(f"there is no {part}/models in {' or '.join(str(root) for root in references.roots)}")


def _is_of(part: str, folder: Path) -> bool:
    """Cones 2's own models are in a folder of the same name, with other files."""
    return part == "mip" or (folder / "text_encoder.fp16.safetensors").is_file()


def predicted(model: DiffusersModel, latents: Tensor, timesteps: Sequence[int], embeds: Tensor) -> Tensor:
    """The UNet's outputs [timestep, 4, h, w] of one latent."""
    with torch.no_grad():
        outputs = [model.predict(latents, torch.tensor([step]), Conditioning(embeds)) for step in timesteps]
    return torch.cat(outputs)
