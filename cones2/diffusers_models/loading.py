"""Models from a diffusers folder or a single-file checkpoint, never from the network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .latent_model import PredictionType, StableDiffusion
from .sdxl import StableDiffusionXL
from .single_file import SDXL_REFUSAL, load_single_file

_PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")


def load_model(
    path: Path | str,
    tokenizer: Path | str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    prediction_type: PredictionType | None = None,
) -> StableDiffusion:
    """The components of a model, in evaluation mode.

    path: a diffusers folder (subfolders tokenizer, text_encoder, unet, vae, scheduler) or a
    checkpoint file (.safetensors, .ckpt). tokenizer: a folder with a CLIP tokenizer, used instead
    of the model's own; a single file has none and falls back to the one of a ComfyUI install.
    prediction_type: overrides what the model says.
    Raises ModelError naming the missing or unsupported part.
    """
    path = Path(path)
    if (path / "text_encoder_2").is_dir():
        raise ModelError(f"{path} is an SDXL model: {SDXL_REFUSAL}")
    return StableDiffusion(**_ready(path, _load_parts(path, tokenizer), device, dtype, prediction_type))


def load_model_to_train(
    path: Path | str,
    tokenizer: Path | str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    prediction_type: PredictionType | None = None,
) -> StableDiffusion:
    """Like `load_model`; the folder may also hold an SDXL model, which can be trained with but not sampled."""
    path = Path(path)
    if not (path / "text_encoder_2").is_dir():
        return load_model(path, tokenizer, device, dtype, prediction_type)
    parts = _ready(path, _load_second_encoder(path, _load_parts(path, tokenizer)), device, dtype, prediction_type)
    parts["vae"].float()  # SDXL's original VAE overflows in half precision
    return StableDiffusionXL(**parts)


def _load_parts(path: Path, tokenizer: Path | str | None) -> dict[str, Any]:
    if not path.exists():
        raise ModelError(f"there is no model at {path}")
    if path.is_dir():
        _check_folder(path)
        return _load_folder(path, Path(tokenizer) if tokenizer else path / "tokenizer")
    return load_single_file(path, load_tokenizer(_tokenizer_folder(path, tokenizer)))


def _ready(
    path: Path,
    parts: dict[str, Any],
    device: torch.device | str,
    dtype: torch.dtype,
    prediction_type: PredictionType | None,
) -> dict[str, Any]:
    """The parts on the device, checked, in evaluation mode."""
    for name in ("text_encoder", "unet", "vae"):
        parts[name] = parts[name].to(device, dtype).eval().requires_grad_(False)
    if prediction_type is not None:
        parts["prediction_type"] = prediction_type
    if parts["prediction_type"] not in ("epsilon", "v_prediction"):
        raise ModelError(f"{path} predicts {parts['prediction_type']}: only epsilon and v_prediction are supported")
    channels = parts["unet"].config.in_channels
    if channels != parts["unet"].config.out_channels:
        raise ModelError(
            f"{path} takes {channels} channels (an inpainting or depth model): only text to image is sampled"
        )
    return parts


def _check_folder(path: Path) -> None:
    missing = [part for part in _PARTS if not (path / part).is_dir()]
    if missing:
        present = sorted(child.name for child in path.iterdir() if child.is_dir())
        has = ", ".join(present) or "no folders"
        raise ModelError(f"{path} is not a diffusers model folder: it lacks {', '.join(missing)} (it has {has})")


def _load_folder(path: Path, tokenizer: Path) -> dict[str, Any]:
    from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    vae_class: Any = AutoencoderTiny if _class_name(path / "vae") == "AutoencoderTiny" else AutoencoderKL
    try:
        scheduler = DDIMScheduler.from_pretrained(path / "scheduler", local_files_only=True)
        return {
            "tokenizer": load_tokenizer(tokenizer),
            "text_encoder": CLIPTextModel.from_pretrained(path / "text_encoder", local_files_only=True),
            "unet": UNet2DConditionModel.from_pretrained(path / "unet", local_files_only=True),
            "vae": vae_class.from_pretrained(path / "vae", local_files_only=True),
            "alphas_cumprod": _finite_snr(scheduler.alphas_cumprod),
            "prediction_type": scheduler.config.prediction_type,
        }
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{path} cannot be loaded: {_first_line(error)}") from error


def _load_second_encoder(path: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of SDXL: both text encoders and their tokenizers."""
    from transformers import CLIPTextModelWithProjection

    try:
        second = CLIPTextModelWithProjection.from_pretrained(path / "text_encoder_2", local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{path} cannot be loaded: {_first_line(error)}") from error
    tokenizers = (parts["tokenizer"], load_tokenizer(path / "tokenizer_2"))
    return {**parts, "tokenizer": tokenizers, "text_encoder": nn.ModuleList([parts["text_encoder"], second])}


def _class_name(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError):
        return ""


def _finite_snr(alphas_cumprod: Tensor) -> Tensor:
    """Zero-terminal-SNR models end in ᾱ = 0, an infinite σ: keep it at 4500 as ComfyUI does."""
    return alphas_cumprod.clamp(min=4.9e-8)


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer in a folder, or in the "tokenizer" folder of a model. Raises ModelError."""
    folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if not (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} holds no tokenizer: neither vocab.json nor tokenizer.json is there")
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        raise ModelError(f"{folder} holds no CLIP tokenizer (vocab.json, merges.txt): {_first_line(error)}") from error


def _tokenizer_folder(checkpoint: Path, given: Path | str | None) -> Path:
    """Where a single-file checkpoint's tokenizer is: as given, else in a ComfyUI install."""
    folder = Path(given) if given is not None else host_tokenizer()
    if folder is None:
        raise ModelError(
            f"{checkpoint.name} is a single file without a tokenizer: "
            "give a folder with vocab.json and merges.txt as --tokenizer DIR, or set COMFYUI_PATH to a ComfyUI install"
        )
    return folder


def host_tokenizer() -> Path | None:
    """The CLIP tokenizer of a ComfyUI install: COMFYUI_PATH, the one this pack sits in, or ~/comfy/ComfyUI."""
    folders = [root / "comfy" / "sd1_tokenizer" for root in _host_candidates()]
    return next((folder for folder in folders if (folder / "vocab.json").is_file()), None)


def _host_candidates() -> list[Path]:
    configured = os.environ.get("COMFYUI_PATH")
    pack = Path(__file__).resolve().parents[2]
    return [*([Path(configured)] if configured else []), pack.parents[1], Path.home() / "comfy" / "ComfyUI"]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
