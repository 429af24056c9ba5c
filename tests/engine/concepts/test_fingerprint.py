"""Recognizing text encoders by the start token's row."""

import pytest
import torch

from cones2.concepts.fingerprint import FINGERPRINT_KEY, encoder_fingerprint, from_other_encoder
from cones2.concepts.residual import make_residual


def conditioning(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(seed))


def trained_with(fingerprint: str):
    return make_residual("dog", torch.ones(1, 768), {FINGERPRINT_KEY: fingerprint})


def test_same_encoder_is_recognized_after_rounding_and_with_another_prompt() -> None:
    here = conditioning()
    other_prompt = torch.cat([here[:, :1].half().float(), conditioning(5)[:, 1:]], 1)
    assert from_other_encoder(trained_with(encoder_fingerprint(here)), other_prompt) is False


def test_another_encoder_is_noticed() -> None:
    assert from_other_encoder(trained_with(encoder_fingerprint(conditioning(1))), conditioning(2)) is True


@pytest.mark.parametrize("fingerprint", ["", "1 2 3", "a b c", " ".join(["nan"] * 16), " ".join(["inf"] * 16)])
def test_residuals_without_a_usable_fingerprint_say_nothing(fingerprint: str) -> None:
    assert from_other_encoder(trained_with(fingerprint), conditioning()) is None


def test_the_metadata_key_stays() -> None:
    assert FINGERPRINT_KEY == "encoder_anchor"
