"""How a picture is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingSettings:
    """The numbers of a sampling run; the defaults are the published ones."""

    steps: int = 50  # outer steps
    guided_steps: int | None = None  # how many of them, from the first on, follow the layout; None or too many: all
    cfg: float = 7.5  # classifier-free guidance scale
    dynamic_cfg: bool = False  # scale cfg by 1 + σ/σ_max, as the derived multi-concept project does
    recurrence: bool = True  # do each guided step again after renoising
    seeds: Sequence[int] = (0,)  # one per image
    height: int = 768  # pixels, a multiple of the VAE's scale factor
    width: int = 768

    @property
    def guided_count(self) -> int:
        """Number of guided steps, 0 … steps."""
        return self.steps if self.guided_steps is None else min(max(self.guided_steps, 0), self.steps)
