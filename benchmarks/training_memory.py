"""Memory of one training step for SD 2.1 at 768 px and SDXL at 1024 px, next to usual cards.

    python benchmarks/training_memory.py

Counted on tensors without storage: no weights are needed and nothing is computed.
"""

from __future__ import annotations

from typing import Any

import torch
from live_bytes import LiveBytes
from torch import Tensor

from cones2.diffusers_models.for_training import TrainingUNet
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.guidance.cross_attention import LayoutBias
from cones2.guidance.joint import JointLayoutBias
from cones2.guidance.terms import AttentionPass
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import Box, layout_from_boxes
from cones2.prompt.conditioning import Conditioning

GIB = 2**30
# name: (UNet configuration, latent side, parameters of the text encoders in millions, pooled width)
LARGE = {
    "SD 2.1, 768 px": (
        {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        96,
        340,
        0,
    ),
    "SDXL, 1024 px": (
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        128,
        817,
        1280,
    ),
}


def main() -> None:
    """Peak of one training step at batch 1: float16 UNet, fused attention; float32 text encoder and Adam."""
    print("| model | recipe | checkpointing | UNet | text encoder, gradients, Adam | activations | GiB | fits |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (config, side, text_millions, pooled) in LARGE.items():
        for checkpointing in (False, True):
            for recipe in ("paper", "photos", "scenes"):
                weights, activations = _step_on_meta(config, side, pooled, checkpointing, recipe == "scenes")
                text = 16 * text_millions * 10**6 if recipe == "paper" else 0
                total = (weights + text + activations) / GIB
                fits = ", ".join(f"{size} GB" for size in (8, 12, 24) if total < 0.93 * size) or "none of 8, 12, 24 GB"
                sizes = " | ".join(f"{size / GIB:.1f}" for size in (weights, text, activations))
                recomputed = "yes" if checkpointing else "no"
                print(f"| {name} | {recipe} | {recomputed} | {sizes} | {total:.1f} | {fits} |", flush=True)


def _step_on_meta(config: dict[str, Any], side: int, pooled: int, checkpointing: bool, guided: bool) -> tuple[int, int]:
    """(bytes of the weights, peak bytes of tensors alive in one forward and backward pass).

    guided: under the layout term of two things.
    """
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=side, **config).half().requires_grad_(False)
    unused: Any = None
    network = TrainingUNet(DiffusersModel(unused, unet, unused, unused))
    if checkpointing:
        unet.enable_gradient_checkpointing(network.checkpoint)
    rows = torch.zeros(1, 77, config["cross_attention_dim"], device="meta", dtype=torch.half, requires_grad=True)
    conditioning = Conditioning(rows, _half(1, pooled) if pooled else None)
    attention = AttentionPass((_two_things(),), torch.ones(1, device="meta")) if guided else None
    original = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = _fused
    try:
        with LiveBytes() as live:
            timestep = torch.zeros(1, device="meta")
            output = network(_half(1, 4, side, side), timestep, conditioning, _half(1, 6), attention)
            output.float().square().mean().backward()
    finally:
        torch.nn.functional.scaled_dot_product_attention = original
    return sum(weight.numel() * 2 for weight in unet.parameters()), live.peak


def _two_things() -> JointLayoutBias:
    layout = layout_from_boxes([Box(0, 0, 0.4, 0.4), Box(0.5, 0.5, 0.5, 0.5)], ["dog", "mug"], 64, 64, "fractions")
    return JointLayoutBias([LayoutBias(weight_maps(layout, [[(5,)], [(8,)]]))])


def _half(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta", dtype=torch.half)


class _FusedAttention(torch.autograd.Function):
    """Keeps what a fused kernel keeps: its inputs, its output, and one number per query and head."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        output = torch.empty_like(query)
        sums = query.new_empty(query.shape[:-1], dtype=torch.float)
        context.save_for_backward(query, key, value, output, sums, *([] if mask is None else [mask]))
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = context.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


def _fused(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    return _FusedAttention.apply(query, key, value, attn_mask)


if __name__ == "__main__":
    main()
