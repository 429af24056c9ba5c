"""Fresh noise for a batch of pictures, such that each picture is the same alone as in its batch."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_ROUNDING = 1e-2  # of starting noise that was kept in half precision


class PictureNoise:
    """Unit normal noise from one CPU generator per picture, keyed by the picture's own starting noise.

    start: the starting noise [B, C, h, w]. seed: what it was drawn from.
    The first picture of a seed continues the generator that drew its starting noise; so does a picture
    that started without noise. Any other picture has a generator of its own.
    """

    def __init__(self, start: Tensor, seed: int) -> None:
        self._shape, self._device = start.shape[1:], start.device
        self._generators = [_generator(picture, seed) for picture in start.detach().cpu().float()]

    def __call__(self) -> Tensor:
        """The next noise [B, C, h, w], float32."""
        draws = [torch.randn(self._shape, generator=generator) for generator in self._generators]
        return torch.stack(draws).to(self._device)


def _generator(start: Tensor, seed: int) -> torch.Generator:
    continued = torch.Generator("cpu").manual_seed(seed)
    first = torch.randn(start.shape, generator=continued)
    if not start.any() or torch.allclose(start, first, rtol=_ROUNDING, atol=_ROUNDING):
        return continued
    digest = hashlib.blake2b(start.contiguous().numpy().tobytes(), key=str(seed).encode(), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)
