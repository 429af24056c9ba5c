"""What pictures add to the layers of a batch whose entries have different references; differentiable.

The formula of `attention`, with a dimension for the entries of the batch. Training learns through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .adapter import AdapterLayer
from .attention import text_factor


@dataclass(frozen=True, eq=False)
class JointPictures:
    """The references of B pictures, up to k each.

    tokens: image tokens [B, k, T, d].
    name_rows: each name encoded alone, padded to the longest: [B, k, n, d'].
    lengths: how many of a name's rows count, int64 [B, k]; 0 where there is no reference.
    layers: of the adapter, in its order.
    scale: factor on all that pictures add.
    """

    tokens: Tensor
    name_rows: Tensor
    lengths: Tensor
    layers: Sequence[AdapterLayer]
    scale: float = 1.0

    def added(self, number: int, attn: Any, q: Tensor, h: Tensor, grid: tuple[int, int]) -> Tensor:
        """The picture part of layer `number`: [B, N, C] in h's dtype.

        attn: the layer, whose text keys the names get; no gradient goes through them, as published.
        q: [B, heads, N, d]. h: its text attention with heads merged, [B, N, C]. grid: (height, width) of the layer.
        """
        layer = self.layers[number]
        with torch.no_grad():
            weights = self._weights(q.float(), attn.to_k(self.name_rows.to(q)).float())
        keys, values = (_split(F.linear(self.tokens, part.float()), q.shape[1]) for part in (layer.to_k, layer.to_v))
        attended = _weighted_attention(q.float(), keys, values, weights)
        gate = text_factor(h, layer.text_to_weight)
        total = attended if gate is None else attended * gate[..., None]
        return (self.scale * total).to(h.dtype)

    def _weights(self, q: Tensor, name_keys: Tensor) -> Tensor:
        """W_j(p) of each reference: [B, k, N], over the references of a picture a sum of 1, or 0 without any.

        q: [B, heads, N, d]. name_keys: [B, k, n, heads · d].
        """
        keys = _split(name_keys, q.shape[1])  # [B, k, heads, n, d]
        scores: Tensor = (keys @ q[:, None].mT * q.shape[-1] ** -0.5).log_softmax(-1)
        there = torch.arange(keys.shape[3], device=q.device) < self.lengths[..., None].to(q.device)
        scores = scores.masked_fill(~there[:, :, None, :, None], -torch.inf)
        maps = scores.flatten(2, 3).logsumexp(2) - self.lengths.to(q).log()[..., None]
        none = self.lengths.to(q.device)[..., None] == 0
        return maps.masked_fill(none, -torch.inf).softmax(1).nan_to_num(0.0)


def _weighted_attention(q: Tensor, keys: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Σ_j w_j(p) · a_j(p) with heads merged: [B, N, C].

    q: [B, heads, N, d]. keys, values: [B, k, heads, T, d]. weights: [B, k, N].
    """
    shares: Tensor = (q[:, None] @ keys.mT * q.shape[-1] ** -0.5).softmax(-1) * weights[:, :, None, :, None]
    return (shares @ values).sum(1).transpose(1, 2).flatten(2)


def _split(rows: Tensor, heads: int) -> Tensor:
    """[B, k, n, heads · d] as [B, k, heads, n, d]."""
    return rows.view(*rows.shape[:-1], heads, -1).transpose(2, 3)
