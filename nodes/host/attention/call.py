"""What a sampling run and each of its model calls know about layouts. It travels in transformer_options."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from ....cones2.guidance.cross_attention import LayoutBias
from ....cones2.guidance.terms import AttentionTerm
from ....cones2.guidance.windows import select_cells
from ..bound_layout import BoundLayout

RUN_KEY = "cones2_run"
CALL_KEY = "cones2_call"
OBSERVER_KEY = "cones2_observer"
"""Key of transformer_options that holds an Observer (see `cones2.guidance.heat_maps`)."""


class Area(NamedTuple):
    """A rectangle of the latents, as fractions of their height and width."""

    top: float
    left: float
    height: float
    width: float


class LatentWindow(NamedTuple):
    """The latent rows (axis 0) or columns (axis 1), out of `total`, that a context window shows the model."""

    axis: Literal[0, 1]
    indices: tuple[int, ...]
    total: int


@dataclass(eq=False)
class Run:
    """What the calls of one sampling run share.

    size: (height, width) of the latents; None where the start of the run was not seen.
    noise: the starting noise [B, C, h, w] before photos were put into it, which identifies each picture.
    terms: those of each layout for each part of the picture.
    """

    size: tuple[int, int] | None = None
    noise: Tensor | None = None
    terms: dict[tuple[BoundLayout, LatentWindow | None, Area | None], tuple[AttentionTerm, ...]] = field(
        default_factory=dict
    )

    def terms_of(self, layout: BoundLayout, window: LatentWindow | None, area: Area | None) -> Sequence[AttentionTerm]:
        """The layout's terms for a window of the picture and an area within that window; None: all of it."""
        key = (layout, window, area)
        if key not in self.terms:
            maps = layout.maps.copy() if window is None else select_cells(layout.maps, *window)
            maps = maps if area is None else maps.crop(*area)
            self.terms[key] = (LayoutBias(maps, layout.guidance_weight),)
        return self.terms[key]


@dataclass(frozen=True, eq=False)
class Guided:
    """A conditioning that is guided in the present call.

    terms: what changes the scores of its prompt.
    length: tokens of its own prompt, before the host repeats it to the length of a longer one.
    """

    terms: Sequence[AttentionTerm]
    length: int


@dataclass(frozen=True, eq=False)
class Call:
    """The guided conditionings of one calc_cond_batch, by their list's index and their uuid."""

    guided: Mapping[tuple[int, uuid.UUID], Guided]
