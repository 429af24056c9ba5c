"""Models from a diffusers folder or a single-file checkpoint, never from the network."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..messages import listed, shown
from ..sampling.noise import DiffusionNoise, Prediction, make_noise
from ..storage.files import shown_path
from .latent_model import DiffusersModel
from .single_file import load_single_file
from .text import ClipText

_PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
_LEAST_ALPHA = 4.9e-8  # ᾱ whose σ is 4500, where ComfyUI too ends schedules of zero terminal signal


def load_model(
    path: Path | str,
    tokenizer: Path | str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    prediction_type: Prediction | None = None,
) -> DiffusersModel:
    """The components of a model, in evaluation mode.

    path: a diffusers folder (SD 1.x, 2.x or SDXL; subfolders tokenizer, text_encoder, unet, vae,
    scheduler) or a checkpoint file (.safetensors, .ckpt).
    tokenizer: a folder with a CLIP tokenizer, used instead of the model's own; a single file has none
    and falls back to the one of a ComfyUI install.
    prediction_type: overrides what the model says.
    Raises ModelError naming the missing or unsupported part.
    """
    path = Path(path)
    if not os.path.exists(path):  # as Path.exists, but False for a name longer than the file system allows
        raise ModelError(f"there is no model at {shown_path(path)}")
    if path.is_dir():
        _check_folder(path)
        model = _load_folder(path, Path(tokenizer) if tokenizer else path / "tokenizer")
    else:
        model = load_single_file(path, load_tokenizer(_tokenizer_folder(path, tokenizer)))
    channels = model.unet.config.in_channels
    if channels != model.unet.config.out_channels:
        raise ModelError(
            f"{shown_path(path)} takes {channels} channels (an inpainting or depth model): "
            "only text to image is sampled"
        )
    for part in (model.text.encoders, model.unet, model.vae):
        part.to(device, dtype).eval().requires_grad_(False)
    if model.is_xl:
        model.vae.float()  # SDXL's original VAE overflows in half precision
    if prediction_type is not None:
        model = replace(model, noise=make_noise(prediction_type, model.noise.alphas_cumprod))
    return model


def _check_folder(path: Path) -> None:
    missing = [part for part in _PARTS if not os.path.isdir(path / part)]
    if missing:
        try:
            present = sorted(child.name for child in path.iterdir() if child.is_dir())
        except OSError as error:
            raise ModelError(f"{shown_path(path)} cannot be read: {error.strerror}") from error
        has = listed(present) if present else "no folders"
        lacks = ", ".join(missing)
        raise ModelError(f"{shown_path(path)} is not a diffusers model folder: it lacks {lacks} (it has {has})")


def _load_folder(path: Path, tokenizer: Path) -> DiffusersModel:
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    vae_class: Any = AutoencoderTiny if _class_name(path / "vae") == "AutoencoderTiny" else AutoencoderKL
    try:
        tokenizers = [load_tokenizer(tokenizer)]
        encoders: list[Any] = [CLIPTextModel.from_pretrained(path / "text_encoder", local_files_only=True)]
        if (path / "text_encoder_2").is_dir():  # SDXL
            second = CLIPTextModelWithProjection.from_pretrained(path / "text_encoder_2", local_files_only=True)
            tokenizers.append(load_tokenizer(path / "tokenizer_2"))
            encoders.append(second)
        return DiffusersModel(
            ClipText(tokenizers, nn.ModuleList(encoders), penultimate=len(encoders) > 1),
            UNet2DConditionModel.from_pretrained(path / "unet", local_files_only=True),
            vae_class.from_pretrained(path / "vae", local_files_only=True),
            _load_noise(path),
        )
    except ModelError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{shown_path(path)} cannot be loaded: {_first_line(error)}") from error


def _load_noise(path: Path) -> DiffusionNoise:
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler.from_pretrained(path / "scheduler", local_files_only=True)
    kind = scheduler.config.prediction_type
    try:
        return make_noise(kind, _finite_snr(scheduler.alphas_cumprod))
    except KeyError:
        raise ModelError(
            f"{shown_path(path)} predicts {shown(kind, 80)}: only epsilon and v_prediction are supported"
        ) from None


def _class_name(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError):
        return ""


def _finite_snr(alphas_cumprod: Tensor) -> Tensor:
    """Zero-terminal-SNR models end in ᾱ = 0, an infinite σ: keep it finite."""
    return alphas_cumprod.clamp(min=_LEAST_ALPHA)


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer in a folder, or in the "tokenizer" folder of a model. Raises ModelError."""
    folder = folder / "tokenizer" if os.path.isdir(folder / "tokenizer") else folder
    name = shown_path(folder)
    if not any(os.path.isfile(folder / file) for file in ("vocab.json", "tokenizer.json")):
        raise ModelError(f"{name} holds no tokenizer: neither vocab.json nor tokenizer.json is there")
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        raise ModelError(f"{name} holds no CLIP tokenizer (vocab.json, merges.txt): {_first_line(error)}") from error


def _tokenizer_folder(checkpoint: Path, given: Path | str | None) -> Path:
    """Where a single-file checkpoint's tokenizer is: as given, else in a ComfyUI install."""
    folder = Path(given) if given is not None else host_tokenizer()
    if folder is None:
        raise ModelError(
            f"{shown(checkpoint.name)} is a single file without a tokenizer: "
            "give a folder with vocab.json and merges.txt as --tokenizer DIR, or set COMFYUI_PATH to a ComfyUI install"
        )
    return folder


def host_tokenizer() -> Path | None:
    """The CLIP tokenizer of a ComfyUI install: COMFYUI_PATH, the one this pack sits in, or ~/comfy/ComfyUI."""
    folders = [root / "comfy" / "sd1_tokenizer" for root in _host_candidates()]
    return next((folder for folder in folders if os.path.isfile(folder / "vocab.json")), None)


def _host_candidates() -> list[Path]:
    configured = os.environ.get("COMFYUI_PATH")
    pack = Path(__file__).resolve().parents[2]
    return [*([Path(configured)] if configured else []), pack.parents[1], Path.home() / "comfy" / "ComfyUI"]


def _first_line(error: Exception) -> str:
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])
