"""An SD2-shaped model folder with random weights: the real tokenizer and widths, few channels."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tests.support.clip_vocabulary import write_clip_tokenizer

WIDTH = 1024


def write_sd2_model(folder: Path) -> Path:
    """Save a diffusers folder (v-prediction, d = 1024, one latent cell = 8 × 8 pixels, 128 px by default)."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=1, num_attention_heads=8, eos_token_id=2
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
    )
    for part, name in ((unet, "unet"), (vae, "vae"), (text_encoder, "text_encoder"), (scheduler, "scheduler")):
        part.save_pretrained(folder / name)
    write_clip_tokenizer(folder / "tokenizer")
    config = folder / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": 77}))
    return folder
