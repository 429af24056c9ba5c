"""An SDXL-shaped model folder with random weights: two text encoders of the real widths, few channels."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.support.sd2_model import write_sd2_model

WIDTHS = (768, 1280)
TIME_WIDTH = 8


def write_sdxl_model(folder: Path) -> Path:
    """Save a diffusers folder (d = 768 + 1280, one latent cell = 8 × 8 pixels, 128 px by default)."""
    write_sd2_model(folder)
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=sum(WIDTHS),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=WIDTHS[1] + 6 * TIME_WIDTH,
    )
    configs = [
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=width,
            eos_token_id=2,
        )
        for width in WIDTHS
    ]
    shutil.rmtree(folder / "text_encoder")
    unet.save_pretrained(folder / "unet")
    CLIPTextModel(configs[0]).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(configs[1]).save_pretrained(folder / "text_encoder_2")
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
    return folder
