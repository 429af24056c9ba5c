"""A delta's weights on a base model, of whichever precision."""

from __future__ import annotations

import pytest
import torch

from cones2.cli.delta_commands import summed
from cones2.custom_diffusion.base import BaseWeights
from cones2.custom_diffusion.changes import Difference, Whole
from cones2.custom_diffusion.delta import Delta, make_delta
from cones2.custom_diffusion.fit import as_whole
from cones2.errors import DeltaError
from tests.support.deltas import LAYER, token

K = f"{LAYER}.to_k.weight"
HALF = {K: torch.full((6, 8), 0.3).half()}


def small(seed: int = 0) -> Delta:
    """A difference of which half precision would lose a good part."""
    numbers = 2e-4 * torch.randn(6, 8, generator=torch.Generator().manual_seed(seed))
    return make_delta({K: Difference(numbers)}, [token()])


def test_whole_weights_on_a_half_precision_base_keep_the_difference() -> None:
    whole = as_whole(small(), HALF).weights[K]
    assert torch.allclose(whole.difference(HALF[K]), small().weights[K].difference(HALF[K]), atol=1e-7)


def test_a_sum_on_a_half_precision_base_keeps_the_differences() -> None:
    added = summed([small(0), small(1)], BaseWeights(HALF)).weights[K].difference(HALF[K])
    wanted = small(0).weights[K].difference(HALF[K]) + small(1).weights[K].difference(HALF[K])
    assert torch.allclose(added, wanted, atol=1e-7)


def test_a_weight_that_is_whole_stays_as_it_is() -> None:
    change = Whole(torch.rand(6, 8))
    assert as_whole(make_delta({K: change}), HALF).weights[K] is change


def test_a_whole_weight_that_is_not_finite_is_named() -> None:
    huge = make_delta({K: Difference(torch.full((6, 8), 3e38))})
    with pytest.raises(DeltaError, match="on this model holds values"):
        as_whole(huge, {K: torch.full((6, 8), 3e38)})


def test_a_base_whose_weight_has_one_side_is_refused() -> None:
    with pytest.raises(DeltaError, match="has shape"):
        as_whole(small(), {K: torch.zeros(6)})
