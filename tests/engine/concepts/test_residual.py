"""Residual values, and adding them to the conditioning."""

from __future__ import annotations

import pytest
import torch

from cones2.concepts.concept import changed_rows
from cones2.concepts.residual import PlacedResidual, check_width, make_residual
from cones2.errors import ResidualError


@pytest.mark.parametrize(
    ("width", "model", "message"),
    [
        (1024, 768, "1024 wide (SD 2.x) but this model's text conditioning is 768 wide (SD 1.x)"),
        (768, 2048, "768 wide (SD 1.x) but this model's text conditioning is 2048 wide (SDXL)"),
        (16, 768, "16 wide (no known family) but this model's text conditioning is 768 wide (SD 1.x)"),
    ],
)
def test_widths_that_do_not_fit(width: int, model: int, message: str) -> None:
    residual = make_residual("dog", torch.ones(1, width))
    with pytest.raises(ResidualError) as caught:
        check_width(residual, model)
    assert str(caught.value) == f'the residual "dog" is {message}'
    with pytest.raises(ResidualError, match="wide"):
        changed_rows(torch.zeros(1, 77, model), [PlacedResidual(residual, [(3,)])])


def test_rows_go_to_the_first_tokens_of_every_occurrence() -> None:
    conditioning = torch.randn(2, 77, 8)
    kept = conditioning.clone()
    dog, cat = make_residual("big dog", torch.randn(2, 8)), make_residual("cat", torch.randn(1, 8))
    result = changed_rows(
        conditioning, [PlacedResidual(dog, [(2, 3), (75, 76, 5)]), PlacedResidual(cat.with_strength(0.5), [(9,)])]
    )
    expected = kept.clone()
    expected[:, [2, 75]] += dog.tensor[0]
    expected[:, [3, 76]] += dog.tensor[1]
    expected[:, 9] += 0.5 * cat.tensor[0]
    assert torch.equal(result, expected)
    assert torch.equal(conditioning, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_strength_zero_changes_nothing(dtype: torch.dtype) -> None:
    conditioning = torch.randn(1, 77, 8, dtype=dtype)
    dog = make_residual("dog", torch.randn(1, 8)).with_strength(0.0)
    result = changed_rows(conditioning, [PlacedResidual(dog, [(1,)])])
    assert result.dtype == dtype and torch.equal(result, conditioning)
    assert result is not conditioning


def test_half_precision_is_added_in_float32() -> None:
    dog = make_residual("dog", torch.full((1, 8), 1 / 3))
    conditioning = torch.full((1, 4, 8), 1000.0, dtype=torch.float16)
    twice = changed_rows(conditioning, [PlacedResidual(dog, [(1,)]), PlacedResidual(dog, [(1,)])])
    assert torch.equal(twice[0, 1], torch.full((8,), 1000 + 2 / 3).half())


def test_rows_that_do_not_fit() -> None:
    dog = make_residual("dog", torch.ones(2, 8))
    with pytest.raises(ResidualError, match=r'the residual "dog" covers 2 tokens but its phrase has only 1'):
        changed_rows(torch.zeros(1, 77, 8), [PlacedResidual(dog, [(3,)])])
    with pytest.raises(ResidualError, match=r"tokens \[76, 77\] of a conditioning of 77 tokens"):
        changed_rows(torch.zeros(1, 77, 8), [PlacedResidual(dog, [(76, 77)])])
    with pytest.raises(ResidualError, match=r"tokens \[-1, 0\]"):
        changed_rows(torch.zeros(1, 77, 8), [PlacedResidual(dog, [(-1, 0)])])
