"""Where the picture attends to a subject: cross-attention probabilities as heat maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_SCORES = 2**22  # formed at a time: all of a UNet's layer, some hundred positions of a joint one

Observer = Callable[[Tensor, Tensor, Tensor | None, tuple[int, int]], None]
"""Called by each cross-attention layer with q, k [B, heads, N or L, d], its bias or None, and (height, width)."""


def subject_attention(q: Tensor, k: Tensor, bias: Tensor | None, token_indices: Sequence[int]) -> Tensor:
    """Probability that each position gives to the tokens at `token_indices`, summed over them and averaged over heads.

    q: [B, heads, N, d], k: [B, heads, L, d], bias: [B or 1, 1, N, L] or None. Result: [B, N]
    float32, 0–1. Forms the scores one head and some positions at a time, to spare memory.
    """
    columns = list(token_indices)
    total = torch.zeros(q.shape[0], q.shape[2], device=q.device)
    step = max(1, _SCORES // k.shape[2])
    for head in range(q.shape[1]):
        for start in range(0, q.shape[2], step):
            part = slice(start, start + step)
            scores = q[:, head, part].float() @ k[:, head].float().mT * q.shape[-1] ** -0.5
            if bias is not None:
                scores = scores + bias[:, 0, part].float()
            total[:, part] += scores.softmax(-1)[..., columns].sum(-1)
    return total / q.shape[1]


class AttentionRecorder:
    """Mean heat map of each subject over all layers and steps it observes.

    subjects: the token indices of each. size: (height, width) of the maps, at least the finest layer's.
    """

    def __init__(self, subjects: Sequence[Sequence[int]], size: tuple[int, int]) -> None:
        self._subjects = [tuple(indices) for indices in subjects]
        self._size = size
        self._sum = torch.zeros(len(subjects), *size)
        self._calls = 0

    def observe(self, q: Tensor, k: Tensor, bias: Tensor | None, grid: tuple[int, int]) -> None:
        """Add one layer's call; q, k and bias of the positive prompt's batch entries only."""
        self._calls += 1
        for index, token_indices in enumerate(self._subjects):
            heat = subject_attention(q, k, bias, token_indices).mean(0).view(1, 1, *grid)
            self._sum[index] += F.interpolate(heat, self._size, mode="bilinear", align_corners=False)[0, 0].cpu()

    def heat_maps(self) -> Tensor:
        """[subjects, height, width] float32, 0–1; zeros when nothing was observed."""
        return self._sum / max(self._calls, 1)


def share_inside(heat: Tensor, mask: Tensor) -> float:
    """Share of a heat map [h, w] that lies inside a region's mask [H, W]: 0–1, 0 for an empty map."""
    resized = F.interpolate(heat[None, None], tuple(mask.shape), mode="bilinear", align_corners=False)[0, 0]
    total = float(resized.sum())
    return float(resized[mask].sum()) / total if total > 0 else 0.0
