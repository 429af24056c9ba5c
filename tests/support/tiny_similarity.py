"""Tiny random CLIP and DINO models in folders, as transformers saves them."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import transformers

from cones2.assets import TOYWORLD


def save_clip(folder: Path) -> Path:
    """A random CLIP for pictures of 32 pixels and the toy world's vocabulary; the folder."""
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = transformers.CLIPTokenizer.from_pretrained(TOYWORLD / "tokenizer")
    text = {
        **small,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 12,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = transformers.CLIPConfig(
        text_config={**text, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    shutil.copytree(TOYWORLD / "tokenizer", folder, dirs_exist_ok=True)
    return folder


def save_dino(folder: Path) -> Path:
    """A random vision transformer for pictures of 28 pixels; the folder."""
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7
    )
    torch.manual_seed(1)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
