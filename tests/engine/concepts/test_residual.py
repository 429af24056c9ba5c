"""Residual values, and adding them to the conditioning."""

from __future__ import annotations

import pytest
import torch

from cones2.concepts.concept import changed_rows
from cones2.concepts.residual import PlacedResidual, check_width, make_residual, rows_for
from cones2.errors import ResidualError
from cones2.families.family import FAMILIES


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


BY_KEY = {family.key: family for family in FAMILIES}


@pytest.mark.parametrize(
    ("width", "metadata", "family", "encoder"),
    [
        (768, {}, "sd1", "l"),
        (2048, {}, "sdxl", "l:-2+g:-2"),
        (4096, {}, "", ""),
        (4096, {"encoder": "t5xxl"}, "flux1", "t5xxl"),
        (4096, {"family": "wan"}, "wan", "umt5xxl"),
        (1024, {"family": "cosmos"}, "cosmos", "t5xxl"),
        (768, {"family": "sd2"}, "sd1", "l"),
        (4096, {"family": "someones"}, "", ""),
        (4096, {"encoder": "t5xxl", "family": "chroma"}, "chroma", "t5xxl"),
        (1024, {"encoder": "t5xxl"}, "cosmos", "t5xxl"),
        (30720, {"encoder": "qwen3vl_4b:-2x12"}, "krea2", "qwen3vl_4b:-2x12"),
        (16, {"encoder": "someones"}, "", "someones"),
    ],
)
def test_a_residual_knows_its_text_encoder(width: int, metadata: dict[str, str], family: str, encoder: str) -> None:
    residual = make_residual("dog", torch.ones(1, width), metadata)
    assert (residual.family, residual.encoder) == (family, encoder)


@pytest.mark.parametrize(
    ("family", "width", "metadata", "encoder"),
    [
        ("sd3", 2048, {}, "l:-2+g:-2"),  # one of SDXL
        ("sd3", 4096, {"encoder": "t5xxl", "family": "flux1"}, "t5xxl"),
        ("cosmos", 1024, {"encoder": "t5xxl"}, "t5xxl"),
    ],
)
def test_the_rows_of_a_residual_are_those_of_its_encoder(
    family: str, width: int, metadata: dict[str, str], encoder: str
) -> None:
    residual, own = make_residual("dog", torch.ones(1, width), metadata), BY_KEY[family]
    assert rows_for(residual, own, own.token_rows, own.width).encoder == encoder


@pytest.mark.parametrize(
    ("family", "width", "metadata", "message"),
    [
        ("flux1", 4096, {}, "does not say which text encoder it was made for, and its 4096 columns do not tell"),
        ("sd3", 4096, {}, "if it is for that, say so: python -m cones2 residual convert IN OUT --encoder t5xxl"),
        (
            "flux1",
            4096,
            {"encoder": "umt5xxl"},
            "was made for the text encoder umt5xxl, but this prompt was encoded by",
        ),
        ("cosmos", 1024, {}, "encoder h:-2, but this prompt was encoded by t5xxl (Cosmos-Predict2)"),
        ("z_image", 7680, {"encoder": "qwen3_4b:-10x3"}, "was encoded by qwen3_4b:-2 (Z-Image)"),
        ("cosmos", 4096, {"encoder": "t5xxl"}, "but this model's text conditioning is 1024 wide"),
        ("sd2", 1024, {"encoder": "t5xxl"}, "made for the text encoder t5xxl, but this prompt was encoded by h:-2"),
        ("anima", 1024, {"encoder": "t5xxl"}, "Anima makes rows of its own from it"),
    ],
)
def test_a_residual_of_another_encoder_is_refused(
    family: str, width: int, metadata: dict[str, str], message: str
) -> None:
    residual, own = make_residual("dog", torch.ones(1, width), metadata), BY_KEY[family]
    with pytest.raises(ResidualError) as caught:
        rows_for(residual, own, own.token_rows, own.width)
    assert message in str(caught.value)


def test_a_prompt_of_stable_diffusion_takes_no_residual_of_another_encoder_of_its_width() -> None:
    residual = make_residual("dog", torch.ones(1, 1024), {"encoder": "t5xxl"})
    with pytest.raises(ResidualError, match="was made for the text encoder t5xxl"):
        changed_rows(torch.zeros(1, 77, 1024), [PlacedResidual(residual, [(3,)])])


def test_narrower_rows_are_changed_in_their_own_columns() -> None:
    dog = make_residual("dog", torch.ones(1, 2048))
    changed = changed_rows(torch.zeros(1, 5, 4096), [PlacedResidual(dog, [(3,)], 2048)])
    assert changed[0].nonzero().tolist() == [[3, column] for column in range(2048)]
