"""What a sampling run and each of its model calls know about layouts. It travels in transformer_options."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from ....cones2.guidance.cross_attention import LayoutBias
from ....cones2.guidance.heat_maps import Observer
from ....cones2.guidance.references import ReferenceBias
from ....cones2.guidance.settings import Closed
from ....cones2.guidance.terms import LowRankTerm
from ....cones2.guidance.weight_maps import WeightMaps
from ....cones2.guidance.windows import select_cells
from ..bound_layout import BoundLayout
from .probe import Trust

RUN_KEY = "cones2_run"
CALL_KEY = "cones2_call"
WATCH_KEY = "cones2_watch"
"""Key of transformer_options that holds a Watch."""


class Watch(NamedTuple):
    """Who wants to see the attention layers of a run.

    observe: see `cones2.guidance.heat_maps`. rows: tokens of the watched prompt's conditioning.
    offset: how many tokens the host put before it.
    layout: of the prompt that is watched, while it guides the whole picture; None: the run is there to be watched,
        all its batch entries are the prompt's, and it starts from no photos.
    """

    observe: Observer
    rows: int
    offset: int = 0
    layout: BoundLayout | None = None

    def part_of(self, chunks: Sequence[Guided | None], batch: int) -> slice | None:
        """The entries of a batch, which the chunks share equally, that it wants to see; None where none is."""
        if self.layout is None:
            return slice(None)
        found = [number for number, chunk in enumerate(chunks) if chunk and chunk.whole is self.layout]
        size = batch // max(len(chunks), 1)
        return slice(found[0] * size, (found[0] + 1) * size) if found else None


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
    pictures: what binds reference pictures, likewise.
    trust: which attention functions steered calls may use.
    """

    size: tuple[int, int] | None = None
    noise: Tensor | None = None
    terms: dict[tuple[BoundLayout, LatentWindow | None, Area | None], tuple[LowRankTerm, ...]] = field(
        default_factory=dict
    )
    pictures: dict[tuple[BoundLayout, LatentWindow | None, Area | None], ReferenceBias] = field(default_factory=dict)
    trust: Trust = field(default_factory=Trust)

    def terms_of(self, layout: BoundLayout, window: LatentWindow | None, area: Area | None) -> Sequence[LowRankTerm]:
        """The layout's terms for a window of the picture and an area within that window; None: all of it."""
        key = (layout, window, area)
        if key not in self.terms:
            maps = _part(layout.maps, window, area)
            self.terms[key] = (LayoutBias(maps, layout.guidance_weight),) if maps.groups else ()
        return self.terms[key]

    def pictures_of(self, layout: BoundLayout, window: LatentWindow | None, area: Area | None) -> ReferenceBias | None:
        """What binds the layout's reference pictures; None without any. `window` and `area` as for `terms_of`."""
        key = (layout, window, area)
        if key not in self.pictures and layout.pictures is not None:
            self.pictures[key] = ReferenceBias(_part(layout.pictures, window, area))
        return self.pictures.get(key)


def _part(maps: WeightMaps, window: LatentWindow | None, area: Area | None) -> WeightMaps:
    maps = maps.copy() if window is None else select_cells(maps, *window)
    return maps if area is None else maps.crop(*area)


@dataclass(frozen=True, eq=False)
class Guided:
    """A conditioning that is guided in the present call.

    terms: what changes the scores of its prompt.
    length: tokens of its own prompt, before the host repeats it to the length of a longer one.
    own: the indices of those of the prompt itself, without template and pads.
    offset: how many tokens the host put before it.
    whole: its layout, where the call shows the whole picture; None for a part.
    pictures: what binds reference pictures to regions. picture_rows: the rows of each picture in the prompt, if any.
    closed: what does not read cells outside its region.
    """

    terms: Sequence[LowRankTerm]
    length: int
    own: Sequence[int] = ()
    offset: int = 0
    whole: BoundLayout | None = None
    pictures: ReferenceBias | None = None
    closed: Closed = "nothing"
    picture_rows: Sequence[range] = ()


@dataclass(frozen=True, eq=False)
class Call:
    """The guided conditionings of one calc_cond_batch, by their list's index and their uuid."""

    guided: Mapping[tuple[int, uuid.UUID], Guided]
