"""Merging deltas on the host's MODEL and CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ...cones2.custom_diffusion.captions import CAPTIONS, ordinary_captions
from ...cones2.custom_diffusion.delta import Delta, ModifierToken
from ...cones2.custom_diffusion.merge import TextRows, merge
from .delta_clip import text_rows, with_tokens, without_words
from .delta_model import base_weights

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP


def merged(model: ModelPatcher, clip: CLIP, deltas: Sequence[Delta], captions: str) -> tuple[Delta, str]:
    """The concepts in one delta, and a line for each thing that is worth knowing.

    captions: one per line; empty for those that ship. Words that the CLIP already knows are not used: the deltas' own
    are. Raises DeltaError as `merge` does.
    """
    lines = [line.strip() for line in captions.splitlines() if line.strip()][:CAPTIONS]

    plain = without_words(clip)  # a word that it knows would push a delta's of the same name to another name

    def encoder(tokens: Sequence[ModifierToken]) -> TextRows:
        knowing, _ = with_tokens(plain, Delta({}, tuple(tokens)), 1.0)

        def rows(prompt: str) -> Tensor:
            return text_rows(knowing, prompt)

        return rows

    result = merge(deltas, base_weights(model), encoder, lines or ordinary_captions())
    facts = (
        f"{result.target_rows} target words, {result.caption_rows} rows of captions "
        f"({result.independent} independent), constraint error {result.constraint_error:.1e}"
    )
    return result.delta, "\n".join([facts, *result.notes])
