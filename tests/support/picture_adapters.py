"""Image adapters with random weights for small models, and their formula written out naively."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

Weights = dict[str, dict[str, Tensor]]

FEATURES = 24
"""Projected width of the small image encoder."""

TOKENS = 4


def adapter_weights(widths: Sequence[int], token_width: int, kind: str = "mip", seed: int = 0) -> Weights:
    """A file's content. kind: "mip" or "plain"; layers as in files, numbered 1, 3, 5, …"""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, gain: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=generator) * gain

    projection = {
        "proj.weight": drawn(TOKENS * token_width, FEATURES),
        "proj.bias": drawn(TOKENS * token_width),
        "norm.weight": torch.ones(token_width),
        "norm.bias": torch.zeros(token_width),
    }
    layers = {}
    for index, width in enumerate(widths):
        for name in ("to_k_ip", "to_v_ip"):
            layers[f"{2 * index + 1}.{name}.weight"] = drawn(width, token_width, gain=token_width**-0.5)
        if kind == "mip":
            layers[f"{2 * index + 1}.text_to_weight.weight"] = drawn(1, width)
    return {"image_proj": projection, "ip_adapter": layers}


def resampler_weights(
    token_width: int, features: int, width: int = 64, layers: int = 2, seed: int = 0
) -> dict[str, Tensor]:
    """A "plus" projection whose attention has one head of 64."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"latents": (1, 6, width), "proj_in.weight": (width, features)}
    shapes |= {"proj_in.bias": (width,), "proj_out.weight": (token_width, width), "proj_out.bias": (token_width,)}
    shapes |= {"norm_out.weight": (token_width,), "norm_out.bias": (token_width,)}
    for layer in range(layers):
        for name in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"layers.{layer}.{name}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= {f"layers.{layer}.0.{name}.weight": (width, width) for name in ("to_q", "to_out")}
        shapes |= {f"layers.{layer}.0.to_kv.weight": (2 * width, width)}
        shapes |= {f"layers.{layer}.1.1.weight": (4 * width, width), f"layers.{layer}.1.3.weight": (width, 4 * width)}
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def write_image_encoder(folder: Path, seed: int = 3) -> Path:
    """A transformers folder with a small CLIP image encoder for pictures of 32 pixels."""
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=FEATURES,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def naive_layer(
    attn: Any,
    hidden: Tensor,
    text: Tensor,
    tokens: Tensor,
    names: Sequence[Tensor],
    layer: dict[str, Tensor],
    scale: float,
    shares: Tensor | None = None,
    strengths: Sequence[float] | None = None,
) -> Tensor:
    """One diffusers layer for one picture, every table formed: [N, C] after to_out.

    hidden: [N, C]. text: [L, d]. tokens: [k, T, d]. names: per subject [n, d]; empty: all maps are equal.
    shares: r_j(p), [k, N].
    """
    heads = attn.heads

    def attended(keys: Tensor, values: Tensor) -> Tensor:
        parts = [_heads(x, heads) for x in (attn.to_q(hidden), keys, values)]
        scores = parts[0] @ parts[1].mT / parts[0].shape[-1] ** 0.5
        return (scores.softmax(-1) @ parts[2]).transpose(0, 1).flatten(1)

    h = attended(attn.to_k(text), attn.to_v(text))
    maps = []
    for rows in names:
        keys = _heads(attn.to_k(rows), heads)
        scores = keys @ _heads(attn.to_q(hidden), heads).mT / keys.shape[-1] ** 0.5
        maps.append(scores.softmax(-1).mean((0, 1)))
    m = torch.stack(maps) if maps else torch.ones(len(tokens), len(hidden))
    r = torch.ones_like(m) if shares is None else shares
    weights = m * r / (m * r).sum(0).clamp(min=1e-30) * r.amax(0)
    gate = torch.ones(len(hidden))
    if "text_to_weight" in layer:
        gate = torch.sigmoid(h @ layer["text_to_weight"].flatten())
        gate = gate / gate.mean()
    added = torch.zeros_like(h)
    for number, own in enumerate(tokens):
        a = attended(nn.functional.linear(own, layer["to_k_ip"]), nn.functional.linear(own, layer["to_v_ip"]))
        strength = 1.0 if strengths is None else strengths[number]
        added += strength * (weights[number] * gate)[:, None] * a
    return attn.to_out[0](h + scale * added)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)
