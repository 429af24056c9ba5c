"""From a work folder to the folder that is shipped: half precision, diffusers layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from .subjects import write_masks, write_subjects
from .unet import SCHEDULE, snapshot

COMPONENTS = {
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
ABSENT = ("safety_checker", "feature_extractor", "image_encoder")


def model_index() -> dict[str, Any]:
    """What `StableDiffusionPipeline.from_pretrained` reads first."""
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    return index | {name: [None, None] for name in ABSENT} | COMPONENTS


def _without_paths(config: Path) -> None:
    """Drop the note of where the weights were loaded from."""
    values = json.loads(config.read_text())
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def export_judge(work: Path, assets: Path) -> None:
    """Write the judge of `work` into `assets`; it depends on no other part."""
    judge = load_file(work / "detector.safetensors")
    half = {k: v.half() if v.is_floating_point() else v for k, v in judge.items()}
    save_file(half, assets / "detector.safetensors")
    (assets / "detector.safetensors").chmod(0o644)


def export_adapter(work: Path, assets: Path) -> None:
    """Write image encoder and adapter of `work` into `assets`, in half precision."""
    encoder = CLIPVisionModelWithProjection.from_pretrained(work / "image_encoder", torch_dtype=torch.float16)
    encoder.save_pretrained(assets / "image_encoder")
    _without_paths(assets / "image_encoder" / "config.json")
    shutil.copyfile(work / "adapter" / "mip_adapter.safetensors", assets / "adapter.safetensors")
    for path in (assets / "adapter.safetensors", *(assets / "image_encoder").glob("*.safetensors")):
        path.chmod(0o644)


def export(work: Path, assets: Path) -> None:
    """Write model, judge and subject pictures of `work` into `assets`; residuals of the model before are deleted."""
    assets.mkdir(parents=True, exist_ok=True)
    for path in (assets / "residuals").glob("*.safetensors"):
        path.unlink()
    print(f"unet: average at step {snapshot(work)}")
    for name, kind in (("text_encoder", CLIPTextModel), ("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        kind.from_pretrained(work / name, torch_dtype=torch.float16).save_pretrained(assets / name)
        _without_paths(assets / name / "config.json")
    shutil.copytree(work / "tokenizer", assets / "tokenizer", dirs_exist_ok=True)
    DDIMScheduler(**SCHEDULE).save_pretrained(assets / "scheduler")
    export_judge(work, assets)
    for path in assets.rglob("*.safetensors"):
        path.chmod(0o644)
    (assets / "model_index.json").write_text(json.dumps(model_index(), indent=2) + "\n")
    write_subjects(assets / "subjects")
    write_masks(assets / "masks")
