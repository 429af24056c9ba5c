"""How a picture is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingSettings:
    """The numbers of a sampling run; the defaults are the published ones.

    steps: outer steps.
    guided_steps: how many of them, from the first on, follow the layout; None or too many: all.
    cfg: classifier-free guidance scale.
    dynamic_cfg: scale cfg by 1 + σ/σ_max, as the derived multi-concept project does.
    recurrence: do each guided step again after renoising.
    seeds: one per image.
    height, width: pixels, multiples of the VAE's scale factor.
    photo_start: how much of the subjects' cut-outs is in the starting noise (γ of `sampling.start`); 0 for none.
    """

    steps: int = 50
    guided_steps: int | None = None
    cfg: float = 7.5
    dynamic_cfg: bool = False
    recurrence: bool = True
    seeds: Sequence[int] = (0,)
    height: int = 768
    width: int = 768
    photo_start: float = 0.0

    @property
    def guided_count(self) -> int:
        """Number of guided steps, 0 … steps."""
        return self.steps if self.guided_steps is None else min(max(self.guided_steps, 0), self.steps)
