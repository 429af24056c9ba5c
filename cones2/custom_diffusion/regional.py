"""A delta's keys and values as a subject's own in its region."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from ..guidance.regional import OwnProjections
from .delta import Delta
from .fit import check_fits
from .layers import is_key_or_value, layer_of, part_of

log = logging.getLogger(__name__)


def own_projections(delta: Delta, base: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, OwnProjections]:
    """What the delta adds to the projections of each layer, by the layer's name.

    base: the model's attention weights by diffusers name. Queries and outputs cannot differ from place to place by
    what a subject is: they are left out with a warning. Raises DeltaError for a delta of another model.
    """
    check_fits(delta, base)
    if delta.is_whole_attention:
        log.warning("only keys and values of a delta act in a region: its queries and outputs are left out")
    found: dict[str, OwnProjections] = {}
    for name, change in delta.weights.items():
        if is_key_or_value(name):
            moved = strength * change.difference(base[name])
            own = found.get(layer_of(name), OwnProjections())
            found[layer_of(name)] = own._replace(**{"keys" if part_of(name) == "to_k" else "values": moved})
    return found
