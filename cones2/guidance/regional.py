"""Keys and values of a subject's own inside its region: attention that differs from place to place, in one forward.

A position in the region of subject j attends with K + c·ΔKⱼᵀ and V + c·ΔVⱼᵀ, c being the text; any other with K and V.
So two concepts of one class can stand side by side without mixing. Ours; no paper has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..layout.grid import cells_of, resize_set
from .cross_attention import guided_attention


class OwnProjections(NamedTuple):
    """What a subject adds to a layer's projections of the text: [out, d] each, None for nothing."""

    keys: Tensor | None = None
    values: Tensor | None = None


@dataclass(frozen=True, eq=False)
class RegionalProjections:
    """A subject's own projections in its region.

    mask: bool [H, W] of the layout, True inside.
    layers: by name of the attention layer, "down_blocks.0.attentions.0.transformer_blocks.0.attn2".
    """

    mask: Tensor
    layers: Mapping[str, OwnProjections]

    def crop(self, top: float, left: float, height: float, width: float) -> RegionalProjections:
        """The same in a part of the picture, given as fractions of it."""
        rows, columns = self.mask.shape
        down, across = cells_of(top, height, rows), cells_of(left, width, columns)
        return replace(self, mask=self.mask[down, across])

    def to(self, device: torch.device, dtype: torch.dtype) -> RegionalProjections:
        """The same with projections in this place and number format."""
        moved = {
            name: OwnProjections(*(None if part is None else part.to(device, dtype) for part in own))
            for name, own in self.layers.items()
        }
        return replace(self, layers=moved)


class Projected(NamedTuple):
    """One layer's queries, keys and values [B, heads, N or L, d], the text [B, L, c] they come from, and its mask
    [B or 1, 1, N, L] or None."""

    q: Tensor
    k: Tensor
    v: Tensor
    text: Tensor
    bias: Tensor | None = None


def with_regions(
    out: Tensor, layer: str, grid: tuple[int, int], subjects: Sequence[RegionalProjections], call: Projected
) -> Tensor:
    """A layer's attention [B, heads, N, d] with each subject's own in its region; where regions overlap, the mean.

    out: the attention with the layer's keys and values. grid: (h, w) of the positions.
    """
    shares = [resize_set(subject.mask, *grid).flatten().to(out.device) for subject in subjects]
    count = torch.stack(shares).sum(0).clamp(min=1) if shares else out.new_ones(1)
    changed = out.clone()
    for subject, inside in zip(subjects, shares, strict=True):
        own = subject.layers.get(layer)
        places = inside.nonzero().flatten()
        if own is None or not len(places):
            continue
        bias = None if call.bias is None else call.bias[:, :, places]
        attended = guided_attention(
            call.q[:, :, places], _added(call.k, call.text, own.keys), _added(call.v, call.text, own.values), bias
        )
        weight = (1 / count[places]).to(out.dtype)[:, None]
        changed[:, :, places] += weight * (attended - out[:, :, places])
    return changed


def _added(projected: Tensor, text: Tensor, change: Tensor | None) -> Tensor:
    """Keys or values [B, heads, L, d] with a change of their projection."""
    if change is None:
        return projected
    more = text @ change.to(text.device, text.dtype).T
    heads = more.view(*more.shape[:2], projected.shape[1], -1).transpose(1, 2)
    return projected + heads.to(projected.dtype)
