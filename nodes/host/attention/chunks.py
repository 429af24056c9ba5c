"""Which conditionings of a model call are of negative prompts, and which part of the picture each is for."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from .call import Area
from .hooks import area_of

if TYPE_CHECKING:
    from comfy.samplers import CFGGuider

Cond = dict[str, Any]
Negative = frozenset[uuid.UUID]


class Chunk(NamedTuple):
    """One conditioning of a model call. area: the part of the picture it is for; None for all of it."""

    unconditional: bool
    area: Area | None


def negative_conds(guider: CFGGuider) -> Negative:
    """The conditionings of a run's negative prompts."""
    return frozenset(
        cond["uuid"] for name, conds in guider.conds.items() if "negative" in name for cond in conds if "uuid" in cond
    )


def chunks_of(
    conds: Sequence[list[Cond] | None], x: Tensor, negative: Negative | None
) -> dict[tuple[int, uuid.UUID], Chunk]:
    """The conditionings of a calc_cond_batch, by their list's index and their uuid.

    negative: those of the run; None where its start was not seen.
    """
    return {
        (index, cond["uuid"]): Chunk(_is_negative(index, entries, negative), area_of(cond.get("area"), x.shape[-2:]))
        for index, entries in enumerate(conds)
        for cond in entries or ()
    }


def _is_negative(index: int, entries: list[Cond] | None, negative: Negative | None) -> bool:
    """Whether a list holds negative prompts; its own conditionings stand before twins of the other list's."""
    if negative is None or not entries:
        return index > 0
    return entries[0].get("uuid") in negative
