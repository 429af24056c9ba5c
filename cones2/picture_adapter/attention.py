"""What pictures add to one cross-attention layer (MIP-Adapter, arXiv 2409.17920, section 3).

    h + scale · g(p) · Σ_j s_j · w_j(p) · a_j(p), before the layer's output projection

h: the text attention. a_j: attention to the image tokens of subject j. w_j: where the subject's name attends, divided
by its sum over the subjects. g: how much picture the adapter wants at a position, from h. s_j: the subject's strength.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .references import LayerPictures

_ROWS_AT_ONCE = 4
"""Rows of names whose scores [B, heads, rows, N] exist at the same time, whatever the names' lengths."""


def name_weights(q: Tensor, name_keys: Sequence[Tensor], shares: Tensor | None = None) -> Tensor:
    """W_j(p) of each subject: [B, k, N] float32, over the subjects a sum of 1, or of the largest share at p.

    q: [B, heads, N, d]. name_keys: per subject [n, heads · d], the layer's text keys of its name.
    shares: r_j(p) of a layout, [k, N]; None: the published weights.
    """
    if len(name_keys) == 1:  # nobody to share with
        return even_weights(1, shares, q.shape[2], q.device).expand(len(q), -1, -1)
    q = q.float()
    return _normalized(torch.stack([_log_map(q, keys) for keys in name_keys], 1), shares)


def even_weights(count: int, shares: Tensor | None, positions: int, device: torch.device) -> Tensor:
    """W_j(p) where names do not count, as in the unconditional half: [1, k, N] float32."""
    return _normalized(torch.zeros(1, count, positions, device=device), shares)


def text_factor(h: Tensor, text_to_weight: Tensor | None) -> Tensor | None:
    """g(p) [B, N] float32: σ(t · h(p)) divided by its mean over the picture; None stands for 1.

    h: the text attention with heads merged, before the output projection, [B, N, C].
    """
    if text_to_weight is None:
        return None
    gate = torch.sigmoid(h.float() @ text_to_weight.float())
    return gate / gate.mean(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def picture_part(
    q: Tensor, h: Tensor, layer: LayerPictures, weights: Tensor, strengths: Sequence[float], scale: float
) -> Tensor:
    """What the subjects' pictures add to h: [B, N, C] in its dtype.

    q: [B, heads, N, d]. h: as for `text_factor`. weights: W_j(p), [B, k, N].
    """
    total = torch.zeros(h.shape, dtype=torch.float32, device=h.device)
    for number, strength in enumerate(strengths):
        if strength:
            total += (strength * weights[:, number])[..., None] * _attended(q, layer, number)
    return _gated(total, h, layer, scale)


def unconditional_part(
    q: Tensor, h: Tensor, layer: LayerPictures, weights: Tensor, strengths: Sequence[float], scale: float
) -> Tensor:
    """As `picture_part` for the unconditional half, where all subjects have one and the same picture.

    weights: of `even_weights`, [1, k, N].
    """
    share = (weights * torch.tensor(strengths, device=weights.device)[None, :, None]).sum(1)
    return _gated(share[..., None] * _attended(q, layer, -1), h, layer, scale)


def _gated(total: Tensor, h: Tensor, layer: LayerPictures, scale: float) -> Tensor:
    gate = text_factor(h, layer.text_to_weight)
    return (total * scale if gate is None else total * (scale * gate)[..., None]).to(h.dtype)


def _attended(q: Tensor, layer: LayerPictures, number: int) -> Tensor:
    """a_j(p): attention of every position to the image tokens of one subject, heads merged, [B, N, C]."""
    keys, values = (_split(part[number], q.shape[1]).expand(len(q), -1, -1, -1) for part in (layer.keys, layer.values))
    return F.scaled_dot_product_attention(q, keys, values).transpose(1, 2).flatten(2)


def _log_map(q: Tensor, keys: Tensor) -> Tensor:
    """log m_j(p) without its constant: [B, N].

    m_j is the mean over heads and rows of softmax(key · q / √d) over the positions. Kept as a logarithm, because
    shares of 1/N and less are divided by each other.
    """
    split = _split(keys.to(q), q.shape[1]) * q.shape[-1] ** -0.5
    total: Tensor | None = None
    for rows in torch.split(split, _ROWS_AT_ONCE, 1):
        scores = (rows @ q.mT).log_softmax(-1)
        part = scores.flatten(1, 2).logsumexp(1)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None  # a name has at least one row
    return total - torch.log(torch.tensor(float(split.shape[0] * split.shape[1])))


def _split(rows: Tensor, heads: int) -> Tensor:
    """[n, heads · d] as [heads, n, d]."""
    return rows.view(len(rows), heads, -1).transpose(0, 1)


def _normalized(log_maps: Tensor, shares: Tensor | None) -> Tensor:
    if shares is None:
        return log_maps.softmax(1)
    shares = shares.to(log_maps)
    weights = (log_maps + shares.log()).softmax(1).nan_to_num(0.0)  # a position where no subject has a share
    return weights * shares.amax(0)
