"""The small models of the reference data, rebuilt for the installed diffusers and transformers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.text import ClipText
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from tests.parity.references import Case, ParityError, References

# diffusers 0.13 → today's names inside the VAE's attention
_VAE_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class ReferenceModels:
    """Loads each component once; one model per case, since prompt ids come from the case."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._parts: dict[str, Any] = {}

    def for_case(self, case: Case) -> DiffusersModel:
        """The engine's model with the case's prediction type, noise schedule and token ids."""
        kind = case.data["prediction_type"]
        parts = self.parts()
        text = ClipText([RecordedTokenizer(case, self._references)], nn.ModuleList([parts["text_encoder"]]))
        return DiffusersModel(text, parts["unet"], parts["vae"], make_noise(kind, self._alphas(kind)))

    def parts(self) -> dict[str, Any]:
        """text_encoder, unet and vae, shared by all cases."""
        if not self._parts:
            self._parts = {
                "text_encoder": self._text_encoder().eval(),
                "unet": self._unet().eval(),
                "vae": self._vae().eval(),
            }
        return self._parts

    def _json(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self._references.find(f"models/{name}").read_text())
        return data

    def _tensors(self, name: str) -> dict[str, Tensor]:
        return load_file(self._references.find(f"models/{name}"))

    def _unet(self) -> Any:
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel(**self._json("unet_config.json"))
        unet.load_state_dict({key: value.float() for key, value in self._tensors("unet.fp16.safetensors").items()})
        return unet

    def _vae(self) -> Any:
        from diffusers import AutoencoderKL

        vae = AutoencoderKL(**self._json("vae_config.json"))
        stored = self._tensors("vae.fp16.safetensors")
        vae.load_state_dict({_vae_key(key): value.float() for key, value in stored.items()})
        return vae

    def _text_encoder(self) -> Any:
        from transformers import CLIPTextConfig, CLIPTextModel

        info, stored = self._json("text_encoder_config.json"), self._tensors("text_encoder.q8.safetensors")
        model = CLIPTextModel(CLIPTextConfig(**info["config"]))
        state = dequantized(stored, info["exponents"], info["config"]["vocab_size"])
        if not any(key.startswith("text_model.") for key in model.state_dict()):
            state = {key.removeprefix("text_model."): value for key, value in state.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        unfilled = [key for key in missing if not key.endswith("position_ids")]
        if unfilled or unexpected:
            raise ParityError(f"the text encoder does not fit: missing {unfilled}, unexpected {unexpected}")
        return model

    def _alphas(self, kind: str) -> Tensor:
        config = self._json(f"scheduler_config_{kind}.json")
        if config["beta_schedule"] != "scaled_linear":
            raise ParityError(f"the betas are {config['beta_schedule']}, expected scaled_linear")
        return scaled_linear_alphas(config["beta_start"], config["beta_end"], config["num_train_timesteps"])


def dequantized(stored: Mapping[str, Tensor], exponents: Mapping[str, int], vocabulary: int) -> dict[str, Tensor]:
    """Float32 text encoder weights: int8 · 2^exponent; the token table is A[i % 256] + B[i // 256]."""

    def value(key: str) -> Tensor:
        tensor = stored[key].float()
        return tensor * 2.0 ** exponents[key] if stored[key].dtype == torch.int8 else tensor

    index = torch.arange(vocabulary)
    table = value("token_embedding.A")[index % 256] + value("token_embedding.B")[index // 256]
    state = {key: value(key) for key in stored if not key.startswith("token_embedding.")}
    return {**state, "text_model.embeddings.token_embedding.weight": table}


class RecordedTokenizer:
    """A tokenizer of one case's texts: what the engine asks of a CLIP tokenizer, answered from stored ids."""

    def __init__(self, case: Case, references: References) -> None:
        special = references.special_ids
        self.bos_token_id, self.eos_token_id = special["bos"], special["eos"]
        self.pad_token_id = special["pad"]
        self._case, self._references = case, references

    def __call__(
        self, text: str, add_special_tokens: bool = True, max_length: int | None = None, **_: Any
    ) -> dict[str, list[int]]:
        ids = self._content(text)
        if not add_special_tokens:
            return {"input_ids": ids}
        kept = ids if max_length is None else ids[: max_length - 2]
        return {"input_ids": [self.bos_token_id, *kept, self.eos_token_id]}

    def _content(self, text: str) -> list[int]:
        if text == self._case.data["prompt"]:
            return self._references.prompt_ids(self._case)
        return self._references.phrase_ids(self._case, text) if text else []

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [f"{id}</w>" for id in ids]  # the published rules compare ids only

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def find_tokenizer(given: Path | None) -> Any:
    """A CLIP tokenizer from a folder, from the development environment or from a host, or None."""
    folders = [given] if given else [*_packaged_vocabulary(), *_host_folders()]
    for folder in folders:
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            from transformers import CLIPTokenizer

            return CLIPTokenizer.from_pretrained(folder, local_files_only=True, pad_token="!")
    if given:
        raise ParityError(f"{given} holds no CLIP tokenizer (vocab.json and merges.txt)")
    return None


def _packaged_vocabulary() -> list[Path]:
    """The folder that tests/support/clip_vocabulary.py writes, where the development environment has the vocabulary."""
    import tempfile

    try:
        import pytest

        from tests.support.clip_vocabulary import write_clip_tokenizer
    except ImportError:
        return []
    try:
        return [write_clip_tokenizer(Path(tempfile.mkdtemp(prefix="clip-tokenizer-")))]
    except pytest.skip.Exception:  # no source of the vocabulary at hand
        return []


def _host_folders() -> list[Path]:
    configured = os.environ.get("COMFYUI_PATH")
    pack = Path(__file__).resolve().parents[2]
    roots = [*([Path(configured)] if configured else []), pack.parents[1], Path.home() / "comfy" / "ComfyUI"]
    return [root / "comfy" / "sd1_tokenizer" for root in roots]


def _vae_key(key: str) -> str:
    if ".attentions." not in key:
        return key
    parts = [_VAE_NAMES.get(part, part) for part in key.split(".")]
    return ".".join(parts)
