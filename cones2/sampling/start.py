"""Where a run begins: in noise, in noise that is shifted towards photos, or in noised latents.

x = σ · (ε + shift) + latents, at the noise level σ of the first step.

The shift is mean-shifted noise (MuDI, arXiv 2404.04243): `share` times the latents of the photos, and nothing
outside of them. It is stated relative to the noise, so it means the same at every σ_max, for every prediction
and for models that mix noise and latents in other ways. Users give it as it was measured, as a multiple γ of the
latents at Stable Diffusion's highest noise level, where x = σ_max · ε + γ · z.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

SD_SIGMA_MAX = 14.6146
"""Highest noise level of Stable Diffusion's training schedule: `scaled_linear_alphas`."""


@dataclass(frozen=True, eq=False)
class Start:
    """The start of a run; by default pure noise.

    shift: [B, C, h, w], relative to the noise. latents: [B, C, h, w], not noised.
    first_step: the step of the schedule at which the run begins.
    """

    shift: Tensor | None = None
    latents: Tensor | None = None
    first_step: int = 0

    def noisy(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """The first x [B, C, h, w] from unit noise of that shape at noise level σ."""
        x = (noise if self.shift is None else noise + self.shift.to(noise)) * sigma
        return x if self.latents is None else x + self.latents.to(x)


PURE_NOISE = Start()


def photo_shift(latents: Tensor, cells: Tensor, photo_start: float) -> Tensor:
    """What is added to unit noise so that it holds photos: [B, C, h, w].

    latents: of pictures that hold the photos' cut-outs, [B, C, h, w], scaled as the model has them.
    cells: bool [B, 1, h, w], where the cut-outs are.
    photo_start: γ, 0 for none.
    """
    return photo_start / SD_SIGMA_MAX * latents * cells.to(latents)
