"""A delta's keys and values as a subject's own in its region."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import LayoutError
from ..guidance.regional import OwnProjections
from ..layout.regions import Layout, Region
from ..messages import listed
from ..prompt.tokens import is_edge
from .delta import Delta, ModifierToken
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


def regions_of(layout: Layout, tokens: Sequence[ModifierToken]) -> list[Region]:
    """The regions whose phrases name one of the tokens, such as "<new1> cat"; none of negative weight.

    Raises LayoutError when there is none.
    """
    if not tokens:
        raise LayoutError("this concept has no token, so no region of a layout can be its own: leave the layout out")
    names = {_word(token.name) for token in tokens}
    found = [
        region
        for region in layout.regions
        if region.weight >= 0 and names & {_word(part) for part in region.subject.split()}
    ]
    if not found:
        words = listed([f"{token.name} {token.class_word}".strip() for token in tokens])
        raise LayoutError(f"the layout has no region for {words}; it has: {listed(layout.subjects)}")
    return found


def _word(text: str) -> str:
    """A word in lower case without the punctuation around it, but for its brackets: "<dog>" is not "dog"."""
    start, stop = 0, len(text)
    while start < stop and text[start] not in "<>" and is_edge(text[start]):
        start += 1
    while start < stop and text[stop - 1] not in "<>" and is_edge(text[stop - 1]):
        stop -= 1
    return text[start:stop].lower()
