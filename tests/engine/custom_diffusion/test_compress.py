"""Compression keeps the singular values before the one that crosses the ratio."""

from __future__ import annotations

import pytest
import torch

from cones2.custom_diffusion.changes import LowRank
from cones2.custom_diffusion.compress import compress, factored, rank_of
from cones2.errors import DeltaError
from tests.support import deltas
from tests.support.deltas import weights

BASE = {name: torch.zeros_like(tensor) for name, tensor in weights(parts=("to_q", "to_k", "to_v", "to_out.0")).items()}


@pytest.mark.parametrize(
    ("values", "ratio", "rank"),
    [([6, 3, 1], 0.6, 1), ([6, 3, 1], 0.59, 0), ([6, 3, 1], 0.95, 2), ([6, 3, 1], 1, 2), ([0, 0], 0.5, 0)],
)
def test_the_value_that_crosses_the_ratio_is_left_out(values: list[float], ratio: float, rank: int) -> None:
    assert rank_of(torch.tensor(values, dtype=torch.float32), ratio) == rank


def test_the_product_is_the_best_of_its_rank() -> None:
    small = compress(deltas.delta(), BASE, 0.6)
    for name, change in small.weights.items():
        assert isinstance(change, LowRank)
        values = torch.linalg.svdvals(weights()[name])
        error = float((weights()[name] - change.difference(BASE[name])).norm())
        assert error == pytest.approx(float(values[change.rank :].norm()), rel=1e-4)


def test_queries_and_outputs_stay_whole() -> None:
    delta = deltas.make_delta(deltas.whole_weights(weights(parts=("to_q", "to_k"))), [deltas.token()])
    small = compress(delta, BASE)
    kinds = {name.split(".")[-2]: type(change).__name__ for name, change in small.weights.items()}
    assert kinds == {"to_q": "Whole", "to_k": "LowRank"}


def test_rank_nothing_is_an_empty_product() -> None:
    assert factored(torch.zeros(6, 8)).rank == 0
    assert factored(torch.ones(6, 8)).rank == 1


def test_a_ratio_out_of_range_is_refused() -> None:
    with pytest.raises(DeltaError, match="above 0"):
        compress(deltas.delta(), BASE, 0)


def test_a_base_that_is_not_finite_is_named() -> None:
    name = next(iter(deltas.delta().weights))
    with pytest.raises(DeltaError, match=r"the model's .*to_k.weight holds values that are not numbers"):
        compress(deltas.delta(), {**BASE, name: torch.full((6, 8), float("nan"))})
