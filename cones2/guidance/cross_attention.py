"""Layout guidance: the additive term of Cones 2 (section 3.3, equation 6), as a mask or as gains.

scores = (Q Kᵀ + g · W · growth · std(Q Kᵀ)) · d_head^-½, where growth = log(1 + σ²) at noise level σ
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .features import SCORE_LIMIT, Gains
from .settings import DEFAULT_GUIDANCE_WEIGHT as DEFAULT_GUIDANCE_WEIGHT
from .weight_maps import WeightMaps


def score_std(q: Tensor, k: Tensor, joint_batch: bool = False) -> Tensor:
    """Unbiased standard deviation of the raw scores Q Kᵀ, exact and without forming them.

    q: [B, heads, N, d], k: [B, heads, L, d]; over all heads, positions and tokens of an image:
    [B] float32. joint_batch: over the whole batch at once, as published, repeated B times.

    With K̃ = K minus its mean token k̄, every position's centered scores sum to 0, so the squared
    deviations are ‖QK̃ᵀ‖² + L · Σ(q·k̄ − mean)²: sums of squares that cancel nowhere, in float32.
    """
    q, k = q.float(), k.float()
    k_mean = k.mean(-2, keepdim=True)
    centers = q @ k_mean.mT  # [B, heads, N, 1]: each position's mean score
    over = (0, 1, 2, 3) if joint_batch else (1, 2, 3)
    spread = (centers - centers.mean(over, keepdim=True)).square().sum((-3, -2, -1))
    total = _squared_scores(q, k - k_mean) + k.shape[-2] * spread
    images = q.shape[0] if joint_batch else 1
    total = total.sum().expand(q.shape[0]) if joint_batch else total
    count = images * q.shape[1] * q.shape[2] * k.shape[2]
    return (total / max(count - 1, 1)).sqrt()


def _squared_scores(q: Tensor, k: Tensor) -> Tensor:
    """‖QKᵀ‖² of each image [B]: ⟨QᵀQ, KᵀK⟩ per head, or the scores of two heads at a time where wide
    heads over few positions (d_head 160) make those the cheaper."""
    positions, tokens, width = q.shape[-2], k.shape[-2], q.shape[-1]
    if 3 * positions * tokens > 2 * (positions + tokens) * width:
        return ((q.mT @ q) * (k.mT @ k)).sum((-3, -2, -1))
    pairs = zip(torch.split(q, 2, 1), torch.split(k, 2, 1), strict=True)
    return torch.stack([(q_pair @ k_pair.mT).square_().sum((-3, -2, -1)) for q_pair, k_pair in pairs]).sum(0)


def layout_bias(
    q: Tensor,
    k: Tensor,
    weights: Tensor,
    token_indices: Sequence[int],
    guidance_weight: float,
    growth: float | Tensor,
    joint_batch: bool = False,
) -> Tensor:
    """The additive term, already scaled by d_head^-½: an attention mask [B, 1, N, L] in q's dtype.

    q: [B, heads, N, d]. k: [B, heads, L, d].
    weights: W of the steered tokens, [N, len(token_indices)] float32.
    token_indices: the columns of the scores that `weights` belongs to; all others get 0.
    guidance_weight: g. growth: of the noise level, a number or [B].
    Computed in float32 and clamped to the dtype's finite range, so never infinite.
    """
    factor = score_std(q, k, joint_batch) * growth * (guidance_weight * q.shape[-1] ** -0.5)
    limit = torch.finfo(q.dtype).max
    values = (factor[:, None, None, None] * weights.to(q.device)).clamp_(-limit, limit).to(q.dtype)
    bias = q.new_zeros(q.shape[0], 1, q.shape[-2], k.shape[-2])
    return bias.index_copy_(3, torch.tensor(token_indices, device=q.device), values)


def guided_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """One fused attention call: [B, heads, N, d]. bias: [B or 1, 1, N, L] or None for plain attention."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@dataclass(frozen=True, eq=False)
class LayoutBias:
    """The attention term of one layout: it keeps each subject's tokens to their region.

    `bias` is its mask on cross-attention; `gains` is the same where text and picture are one sequence.

    maps: W for any grid.
    guidance_weight: g; 0.05–0.10 recommended.
    joint_batch: the published standard deviation over all images of a batch together, for parity only.
    """

    maps: WeightMaps
    guidance_weight: float = DEFAULT_GUIDANCE_WEIGHT
    joint_batch: bool = False

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor) -> Tensor:
        """Attention mask [B, 1, N, L]; see `cones2.guidance.terms.AttentionTerm`."""
        weights = self.maps.at(*grid, device=q.device)
        return layout_bias(q, k, weights, self.maps.token_indices, self.guidance_weight, growth, self.joint_batch)

    def gains(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor) -> Gains:
        """What cells gain on the tokens of each subject; see `cones2.guidance.terms.LowRankTerm`."""
        factor = score_std(q, k) * growth * self.guidance_weight
        weights = self.maps.groups_at(*grid, device=q.device)
        cells = (factor[:, None, None] * weights).clamp_(-SCORE_LIMIT, SCORE_LIMIT)
        return Gains(cells, self.maps.groups)
