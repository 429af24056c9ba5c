"""Small Custom Diffusion deltas in every format, for the tiny model of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cones2.custom_diffusion.base import attention_weights
from cones2.custom_diffusion.delta import Delta, ModifierToken, make_delta, whole_weights
from cones2.custom_diffusion.layers import compvis_name, is_key_or_value, processor_name

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
MIDDLE = "mid_block.attentions.0.transformer_blocks.0.attn2"
WIDTH = 8


def weights(seed: int = 0, parts: tuple[str, ...] = ("to_k", "to_v")) -> dict[str, Tensor]:
    """Weights [6, 8] of keys and values, [6, 6] of the others, of two layers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"to_k": (6, WIDTH), "to_v": (6, WIDTH), "to_q": (6, 6), "to_out.0": (6, 6)}
    return {
        f"{layer}.{part}.weight": torch.randn(shapes[part], generator=generator)
        for layer in (LAYER, MIDDLE)
        for part in parts
    }


def token(name: str = "<new1>", seed: int = 5, class_word: str = "") -> ModifierToken:
    """A token with one vector [8]."""
    return ModifierToken(name, (torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)),), class_word)


def delta(seed: int = 0, *names: str) -> Delta:
    """A delta of two layers with tokens of these names, by default <new1>."""
    tokens = [token(name, seed + rank, "cat") for rank, name in enumerate(names or ("<new1>",))]
    return make_delta(whole_weights(weights(seed)), tokens)


def delta_for(model: Any, seed: int = 0, class_word: str = "dog", size: float = 1.0) -> Delta:
    """A delta that changes all keys and values of a diffusers model, with one token."""
    generator = torch.Generator().manual_seed(seed)
    base = attention_weights(model.unet.named_parameters())
    changed = {
        name: weight + size * torch.randn(weight.shape, generator=generator) * weight.std()
        for name, weight in base.items()
        if is_key_or_value(name)
    }
    row = torch.randn(model.width, generator=generator)
    per_block = int(model.unet.config.layers_per_block)
    return make_delta(whole_weights(changed), [ModifierToken("<new1>", (row,), class_word)], {}, per_block)


def write_formats(folder: Path) -> dict[str, Path]:
    """The same delta in the formats of other programs: path by format."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, row = weights(), token().vectors[0]
    compressed = {
        name: {"u": torch.ones(6, 2), "v": tensor[:2].clone()} if is_key_or_value(name) else tensor
        for name, tensor in whole.items()
    }
    compvis = {compvis_name(name): tensor for name, tensor in whole.items()}
    saved: dict[str, Any] = {
        "delta.bin": {"unet": whole, "modifier_token": {"<new1>": row}},
        "delta_epoch=000004.ckpt": {"state_dict": {**compvis, "embed": row[None]}},
        "flat_embed.ckpt": {"state_dict": {**compvis, "embed": torch.cat([row, row + 1])}},
        "compressed_delta.bin": {"unet": compressed, "modifier_token": {"<new1>": row}},
        "pytorch_custom_diffusion_weights.bin": {
            **{processor_name(name): tensor for name, tensor in whole.items()},
            LAYER.replace("attn2", "attn1") + ".processor": {},
        },
        "token.bin": {"<new1>": row},
        "sdxl.bin": {"unet": whole, "modifier_token": {"<new1>": [row[:3].clone(), row[3:].clone()]}},
    }
    for name, value in saved.items():
        torch.save(value, folder / name)
    return {name: folder / name for name in saved}
