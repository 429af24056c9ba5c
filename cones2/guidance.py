"""Layout guidance: the additive term of Cones 2 (section 3.3, equation 6) on cross-attention scores.

    scores = (Q Kᵀ + g · W · log(1 + σ²) · std(Q Kᵀ)) · d_head^-½
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .maps import WeightMaps

DEFAULT_STRENGTH = 0.08  # published guidance weight g; 0.05–0.10 recommended


def score_std(q: Tensor, k: Tensor, joint_batch: bool = False) -> Tensor:
    """Unbiased standard deviation of the raw scores Q Kᵀ, exact and without forming them.

    q: [B, heads, N, d], k: [B, heads, L, d]; over all heads, positions and tokens of an image:
    [B] float32. joint_batch: over the whole batch at once, as published, repeated B times.

    Per head the centred second moment is ⟨Q̃ᵀQ̃, KᵀK⟩ + N·q̄ᵀK̃ᵀK̃q̄ (tilde: minus the mean over
    positions or tokens), to which the spread of the heads' means is added; centring keeps the
    sums well conditioned in float32.
    """
    positions, tokens = q.shape[-2], k.shape[-2]
    q, k = q.float(), k.float()
    q_mean, k_mean = q.mean(-2, keepdim=True), k.mean(-2, keepdim=True)
    k_centred = k - k_mean
    within = (_gram_product(q, k) - positions * (q_mean @ (k.mT @ k) * q_mean).sum((-2, -1))).clamp(min=0)
    within = within + positions * ((q_mean @ k_centred.mT) ** 2).sum((-2, -1))
    means = (q_mean * k_mean).sum((-2, -1))  # [B, heads]
    groups = (within[None].flatten(1), means[None].flatten(1)) if joint_batch else (within, means)
    total = groups[0].sum(-1) + positions * tokens * ((groups[1] - groups[1].mean(-1, keepdim=True)) ** 2).sum(-1)
    count = groups[0].shape[-1] * positions * tokens
    return (total / max(count - 1, 1)).sqrt().expand(q.shape[0])


def _gram_product(q: Tensor, k: Tensor) -> Tensor:
    """Sum of squared scores ⟨QᵀQ, KᵀK⟩ per head [B, heads], over the cheaper Gram matrix."""
    gram_k = k.mT @ k
    if q.shape[-2] > 2 * q.shape[-1]:
        return ((q.mT @ q) * gram_k).sum((-2, -1))
    return ((q @ gram_k) * q).sum((-2, -1))


def layout_bias(
    q: Tensor,
    k: Tensor,
    weights: Tensor,
    rows: Sequence[int],
    strength: float,
    sigma: float | Tensor,
    joint_batch: bool = False,
) -> Tensor:
    """The additive term, already scaled by d_head^-½: an attention mask [B, 1, N, L] in q's dtype.

    q: [B, heads, N, d], k: [B, heads, L, d]; weights: [N, len(rows)] float32; rows: columns of the
    scores that they steer (all others get 0); strength: g; sigma: noise level in latent units, a
    number or [B]. Computed in float32 and clamped to the dtype's finite range, so never infinite.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=q.device).expand(q.shape[0])
    factor = strength * torch.log1p(sigma**2) * score_std(q, k, joint_batch) * q.shape[-1] ** -0.5
    limit = torch.finfo(q.dtype).max
    values = (factor[:, None, None] * weights.to(q.device)).clamp(-limit, limit).to(q.dtype)
    bias = q.new_zeros(q.shape[0], 1, q.shape[-2], k.shape[-2])
    bias[:, 0, :, list(rows)] = values
    return bias


def guided_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """One fused attention call: [B, heads, N, d]. bias: [B or 1, 1, N, L] or None for plain attention."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@dataclass(frozen=True, eq=False)
class LayoutGuidance:
    """Everything a cross-attention layer needs to follow a layout.

    maps: W for any grid. strength: g. joint_batch: the published standard deviation over all
    images of a batch together, kept for parity only.
    """

    maps: WeightMaps
    strength: float = DEFAULT_STRENGTH
    joint_batch: bool = False

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], sigma: float | Tensor) -> Tensor:
        """Attention mask [B, 1, N, L] for a layer over `grid` = (height, width), N = height · width."""
        weights = self.maps.at(*grid, device=q.device)
        return layout_bias(q, k, weights, self.maps.rows, self.strength, sigma, self.joint_batch)
