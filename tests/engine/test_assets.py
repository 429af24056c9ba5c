"""What ships beside the code is read whole."""

from __future__ import annotations

from transformers import CLIPTextModel

from cones2.assets import TOYWORLD


def test_every_weight_of_the_toy_text_encoder_is_read() -> None:
    """Some versions of transformers know the names of these weights and others start from noise without a word."""
    _, found = CLIPTextModel.from_pretrained(TOYWORLD / "text_encoder", output_loading_info=True)
    assert (list(found["missing_keys"]), list(found["unexpected_keys"])) == ([], [])
