"""A training aid: the attention of a noun should fall on its object.

The denoising loss alone binds nouns to objects slowly. TokenCompose (Wang et al., 2023,
arXiv 2312.03626) adds, for each noun, the share of its cross-attention that falls outside its
object, squared; we use the same token-level term.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel


class RecordingProcessor:
    """Plain attention; cross-attention also keeps its probabilities for the noun rows.

    `picked` [B, K] holds the rows to keep; `kept` collects maps [B, K, positions].
    """

    def __init__(self) -> None:
        self.picked: torch.Tensor | None = None
        self.kept: list[torch.Tensor] = []

    def listen(self, picked: torch.Tensor) -> None:
        """Forget the maps kept so far and keep those of these rows from now on."""
        self.picked, self.kept = picked, []

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: None = None,
        temb: None = None,
    ) -> torch.Tensor:
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))
        # Written out: the backward pass of the fused attention is slow on a CPU.
        weights = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        if encoder_hidden_states is not None and self.picked is not None:
            rows = self.picked[:, None, :].expand(-1, weights.shape[2], -1)
            self.kept.append(weights.mean(1).gather(2, rows).transpose(1, 2).float())
        out = weights.to(v.dtype) @ v
        return attn.to_out[0](out.transpose(1, 2).flatten(-2))


def attach(unet: UNet2DConditionModel) -> RecordingProcessor:
    """Give every attention layer of `unet` one shared recording processor."""
    processor = RecordingProcessor()
    unet.set_attn_processor(processor)
    return processor


def resized(masks: torch.Tensor, positions: int) -> torch.Tensor:
    """Masks [B, K, h, w] averaged down to a square grid, flattened: [B, K, positions]."""
    side = int(positions**0.5)
    return F.adaptive_avg_pool2d(masks, side).flatten(-2)


def stray_share(kept: Sequence[torch.Tensor], masks: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean squared share of a noun's attention outside its object.

    `masks` [B, K, h, w] in [0, 1], `valid` [B, K] marks the pairs that exist.
    """
    losses = []
    for maps in kept:
        inside = (maps * resized(masks, maps.shape[-1])).sum(-1) / maps.sum(-1).clamp_min(1e-6)
        losses.append(((1 - inside) ** 2)[valid].mean())
    return torch.stack(losses).mean()
