"""The layout terms of a batch whose pictures have different prompts and layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .cross_attention import LayoutBias, score_std


@dataclass(eq=False)
class JointLayoutBias:
    """The layout terms of the pictures of a batch: entry b of the batch follows `terms[b]`.

    The result equals each term's own on its entry (see `cones2.guidance.cross_attention.layout_bias`).
    """

    terms: Sequence[LayoutBias]
    _dense: dict[tuple[int, int, int, torch.device], Tensor] = field(default_factory=dict, repr=False)

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float | Tensor) -> Tensor:
        """Attention mask [B, 1, N, L] in q's dtype; see `cones2.guidance.terms.AttentionTerm`."""
        q, k = q.detach(), k.detach()  # in training the term is a constant: no gradient, and no memory for one
        scale = torch.tensor([term.guidance_weight for term in self.terms], device=q.device) * q.shape[-1] ** -0.5
        factor = score_std(q, k) * growth * scale
        limit = torch.finfo(q.dtype).max
        values: Tensor = factor[:, None, None, None] * self._weights(grid, k.shape[-2], q.device)
        return values.clamp_(-limit, limit).to(q.dtype)

    def _weights(self, grid: tuple[int, int], tokens: int, device: torch.device) -> Tensor:
        """W of every entry over all tokens: [B, 1, N, tokens] float32."""
        key = (*grid, tokens, device)
        if key not in self._dense:
            dense = torch.zeros(len(self.terms), 1, grid[0] * grid[1], tokens, device=device)
            for entry, term in enumerate(self.terms):
                dense[entry, 0][:, list(term.maps.token_indices)] = term.maps.at(*grid, device=device)
            self._dense[key] = dense
        return self._dense[key]
