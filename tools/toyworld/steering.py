"""Layouts in joint attention, as a dense term: for looks at a transformer in training, not for users.

The engine's formula (cones2/guidance/cross_attention.py) on the scores of the picture's cells with a
subject's words, and with the tokens of its reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cones2.evaluation.cases import Case
from cones2.guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT, score_std
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import layout_from_masks

LARGEST_SIGMA = 14.6146  # Stable Diffusion's, where flow matching's noise-to-signal ratio is endless
LIMIT = 2.0**14  # of a raw score: 0 after the softmax in every precision


def growth(level: Tensor) -> Tensor:
    """log(1 + σ²) at flow matching's level t, with σ the ratio of noise to signal."""
    sigma = (level / (1 - level).clamp_min(1e-6)).clamp_max(LARGEST_SIGMA)
    return torch.log1p(sigma**2)


def region_weights(cases: Sequence[Case], side: int) -> Tensor:
    """W of each case's subjects on a square grid: [B, cells, subjects]."""
    columns = []
    for case in cases:
        masks = [torch.as_tensor(subject.place) for subject in case.subjects]
        layout = layout_from_masks(masks, [subject.word for subject in case.subjects])
        columns.append(weight_maps(layout, [[(index,)] for index in range(len(masks))]).at(side, side))
    return torch.stack(columns)


@dataclass(frozen=True, eq=False)
class Steering:
    """The term at one noise level; the sequence is text, picture, references.

    weights: [B, cells, subjects]. level: t, [B]. valid: which text rows are a prompt's, [B, L].
    words: the row of each subject's noun, [B, subjects], or None. lengths: tokens of each subject's
    reference; empty: they are not steered.
    """

    weights: Tensor
    level: Tensor
    valid: Tensor
    words: Tensor | None
    lengths: Sequence[int] = ()
    guidance_weight: float = DEFAULT_GUIDANCE_WEIGHT

    def __call__(self, q: Tensor, k: Tensor, rows: int) -> Tensor:
        cells = slice(rows, rows + self.weights.shape[1])
        bias = q.new_zeros(len(q), q.shape[-2], k.shape[-2], dtype=torch.float32)
        factor = self.guidance_weight * growth(self.level)
        if self.words is not None:
            own = zip(q, k, self.valid, strict=True)
            spread = torch.cat([score_std(a[None, :, cells], b[None, :, :rows][:, :, v]) for a, b, v in own])
            index = self.words[:, None, :].expand(-1, self.weights.shape[1], -1)
            bias[:, cells, :rows] = bias[:, cells, :rows].scatter(2, index, self._values(factor * spread))
        if self.lengths:
            spread = score_std(q[:, :, cells], k[:, :, cells.stop :])
            repeats = torch.tensor(self.lengths)
            bias[:, cells, cells.stop :] = self._values(factor * spread).repeat_interleave(repeats, -1)
        return bias[:, None]

    def _values(self, factor: Tensor) -> Tensor:
        return (factor[:, None, None] * self.weights).clamp(-LIMIT, LIMIT)
