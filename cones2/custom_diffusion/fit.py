"""A delta on a base model: whether it fits, and the weights that come out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import DeltaError
from ..families.family import width_label
from ..messages import listed
from .changes import Change, Difference, Whole
from .delta import Delta
from .layers import is_key_or_value

log = logging.getLogger(__name__)

_SAME = 1e-7  # largest difference of a weight that training did not touch


def check_fits(delta: Delta, base: Mapping[str, Tensor]) -> None:
    """Raise DeltaError naming weights that the model lacks, or has in another shape or not finite; log keys and values
    that the delta lacks.

    base: the model's attention weights by diffusers name.
    """
    width = next((weight.shape[1] for name, weight in base.items() if is_key_or_value(name) and weight.ndim == 2), None)
    if delta.width and width and delta.width != width:
        raise DeltaError(
            f"its weights read texts {width_label(delta.width)} but this model's text conditioning is "
            f"{width_label(width)}"
        )
    foreign = [name for name in delta.weights if name not in base]
    if foreign:
        raise DeltaError(f"{len(foreign)} of its weights are not in this model: {listed(foreign, 3)}")
    for name, change in delta.weights.items():
        if change.shape != base[name].shape:
            raise DeltaError(f"{name} has shape {tuple(change.shape)}, the model's has {tuple(base[name].shape)}")
        if not torch.isfinite(base[name].float()).all():
            raise DeltaError(f"the model's {name} holds values that are not numbers (NaN or infinity)")
    lacking = [name for name in base if is_key_or_value(name) and name not in delta.weights]
    if lacking and delta.weights:
        log.warning("the delta lacks %d of the model's keys and values: %s", len(lacking), listed(lacking, 3))


def as_difference(delta: Delta, base: Mapping[str, Tensor], drop_unchanged: bool = False) -> Delta:
    """The delta with differences to the base instead of whole weights.

    drop_unchanged: leave out weights that are the base's own, as most of a whole checkpoint's are.
    Raises DeltaError as `check_fits` does.
    """
    check_fits(delta, base)
    weights: dict[str, Change] = {}
    for name, change in delta.weights.items():
        moved = Difference(change.difference(base[name])) if isinstance(change, Whole) else change
        if drop_unchanged and float(moved.difference(base[name]).abs().max()) <= _SAME:
            continue
        weights[name] = moved
    return delta.with_weights(weights)


def as_whole(delta: Delta, base: Mapping[str, Tensor]) -> Delta:
    """The delta with whole weights on this base, float32 where they are not whole already.

    Raises DeltaError as `check_fits` does, and for a weight that is not finite then.
    """
    check_fits(delta, base)
    weights: dict[str, Change] = {}
    for name, change in delta.weights.items():
        # not in the base's own numbers: half precision would round a good part of a small difference away
        weights[name] = change if isinstance(change, Whole) else Whole(change.applied(base[name].float()))
        if not torch.isfinite(weights[name].parts()["whole"]).all():
            raise DeltaError(f"{name} on this model holds values that are not numbers (NaN or infinity)")
    return delta.with_weights(weights)


def applied_weights(deltas: Sequence[tuple[Delta, float]], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The base's weights under one delta, or several whose differences are summed, each with its strength.

    One delta of whole weights at strength 1 gives exactly its weights. Deltas of strength 0 do nothing.
    Raises DeltaError as `check_fits` does.
    """
    active = [(delta, strength) for delta, strength in deltas if strength]
    for delta, _ in deltas:
        check_fits(delta, base)
    weights = {}
    for name in dict.fromkeys(name for delta, _ in active for name in delta.weights):
        changes = [(delta.weights[name], strength) for delta, strength in active if name in delta.weights]
        if len(changes) == 1:
            weights[name] = changes[0][0].applied(base[name], changes[0][1])
            continue
        total = torch.stack([strength * change.difference(base[name]) for change, strength in changes]).sum(0)
        weights[name] = (base[name].float() + total).to(base[name].dtype)
    return weights
