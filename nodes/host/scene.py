"""A scene's prompt: encoded, and with a layout that a sampler may take from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...cones2.errors import PromptError
from ...cones2.layout.regions import Layout
from ...cones2.rules import DEFAULT_GUIDANCE
from .bound_layout import Window
from .conditioning import Conditioning, guide_conditioning
from .prompt_record import PROMPT_KEY, read_prompt

if TYPE_CHECKING:
    from comfy.sd import CLIP


def encode(clip: CLIP | None, text: str) -> Conditioning:
    """The conditioning of a prompt, which remembers its tokens. Raises PromptError without a CLIP."""
    if clip is None:
        raise PromptError(
            "the CLIP input is empty: the checkpoint holds no text encoder, so load one with a CLIP loader"
        )
    record, tokens = read_prompt(clip, text)
    encoded: Conditioning = clip.encode_from_tokens_scheduled(tokens, add_dict={PROMPT_KEY: record})
    for cond, options in encoded:
        options[PROMPT_KEY] = record.of(cond)
    return encoded


def guided_by_default(conditioning: Conditioning, layout: Layout) -> Conditioning:
    """The conditioning with a layout, at the published numbers; a sampler's own replace them."""
    return guide_conditioning(conditioning, layout, DEFAULT_GUIDANCE, Window())
