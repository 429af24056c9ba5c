"""Flow matching and the miniature transformer's sequence: cells of the picture, then references."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import QwenImageTransformer2DModel

PATCH = 2
# The schedule t = SHIFT u / (1 + (SHIFT - 1) u) of u in 0..1, in training as in sampling: diffusers'
# FlowMatchEulerDiscreteScheduler(shift=SHIFT), the host's ModelSamplingFlux with shift log(SHIFT).
SHIFT = 2.0


def shifted(u: torch.Tensor) -> torch.Tensor:
    """The noise level t of a share u of the schedule: 0 is the picture, 1 is noise."""
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def packed(latents: torch.Tensor) -> torch.Tensor:
    """Latents [B, c, h, w] as tokens [B, h w / 4, 4 c], as Qwen-Image's pipeline packs them."""
    b, c, h, w = latents.shape
    tokens = latents.view(b, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    return tokens.reshape(b, h * w // PATCH**2, c * PATCH**2)


def unpacked(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `packed`."""
    grid = tokens.unflatten(1, (height // PATCH, width // PATCH)).unflatten(-1, (-1, PATCH, PATCH))
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, height, width)


def velocity(
    dit: QwenImageTransformer2DModel,
    noisy: torch.Tensor,
    level: torch.Tensor,
    context: torch.Tensor,
    valid: torch.Tensor,
    references: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """Noise minus picture as the model guesses it, [B, 4, h, w].

    level: t, [B]. context: text rows [B, L, d], of which `valid` [B, L] belong to the prompt.
    references: clean latents [B, 4, h', w'] each; they stand after the picture, the k-th in frame k.
    """
    height, width = noisy.shape[-2:]
    parts = [noisy, *references]
    shapes = [(1, part.shape[-2] // PATCH, part.shape[-1] // PATCH) for part in parts]
    sequence = torch.cat([packed(part) for part in parts], 1)
    guess = dit(sequence, context, valid, level, [shapes] * len(noisy), return_dict=False)[0]
    return unpacked(guess[:, : height * width // PATCH**2], height, width)
