"""What ships beside the code is read whole."""

from __future__ import annotations

import pytest
from transformers import CLIPTextModel

from cones2.assets import DEMO_RESIDUALS, TOYWORLD, demo_residual
from cones2.evaluation.toyworld.world import SUBJECTS


def test_every_weight_of_the_toy_text_encoder_is_read() -> None:
    """Some versions of transformers know the names of these weights and others start from noise without a word."""
    _, found = CLIPTextModel.from_pretrained(TOYWORLD / "text_encoder", output_loading_info=True)
    assert (list(found["missing_keys"]), list(found["unexpected_keys"])) == ([], [])


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_class_names_the_subject_that_words_can_describe(name: str) -> None:
    word = SUBJECTS[name].kind
    assert demo_residual(f"demo/{word}") == demo_residual(f"demo/{name}") == DEMO_RESIDUALS / f"{name}.safetensors"


@pytest.mark.parametrize("name", ["demo/badge", "demo/unicorn", "dog", "demo/../dog"])
def test_other_names_are_not_of_the_demo(name: str) -> None:
    assert demo_residual(name) is None
