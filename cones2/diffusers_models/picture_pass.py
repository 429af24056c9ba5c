"""What pictures of subjects add to a diffusers UNet's cross-attention, layer by layer, in one sampling run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..picture_adapter.attention import even_weights, name_weights, picture_part, unconditional_part
from ..picture_adapter.references import LayerPictures, References


@dataclass(eq=False)
class PicturePass:
    """The references of a scene for one run.

    conditional, unconditional: the batch entries of the prompt and of the negative prompt.
    """

    references: References
    conditional: slice
    unconditional: slice
    _layers: dict[int, tuple[LayerPictures, list[Tensor]]] = field(default_factory=dict, repr=False)

    def added(self, number: int, attn: Any, q: Tensor, h: Tensor, grid: tuple[int, int]) -> Tensor:
        """The picture part of layer `number` in the adapter's order: [B, N, C].

        attn: the layer, whose text keys the names get. q: [B, heads, N, d]. h: its plain text attention [B, N, C].
        """
        references = self.references
        layer, name_keys = self._of_layer(number, attn, q)
        shares = None if references.shares is None else references.shares.at(*grid, device=q.device)
        total = torch.zeros_like(h)
        strengths, scale = references.strengths, references.scale
        part = self.conditional
        if len(q[part]):
            weights = name_weights(q[part], name_keys, shares)
            total[part] = picture_part(q[part], h[part], layer, weights, strengths, scale)
        part = self.unconditional
        if len(q[part]):
            weights = even_weights(len(strengths), shares, q.shape[2], q.device)
            total[part] = unconditional_part(q[part], h[part], layer, weights, strengths, scale)
        return total

    def _of_layer(self, number: int, attn: Any, q: Tensor) -> tuple[LayerPictures, list[Tensor]]:
        """Keys and values of the pictures, and the keys of the names; computed in the run's first pass."""
        if number not in self._layers:
            names = [attn.to_k(rows.to(q.device, q.dtype)) for rows in self.references.name_rows]
            self._layers[number] = self.references.layers[number].to(q.device, q.dtype), names
        return self._layers[number]
