"""What words do to a subject's embeddings: a description as a residual, and a basis of adjectives' directions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from ..errors import ModelError
from ..prompt.conditioning import Conditioning
from .captions import Caption, described_captions, place_subject
from .model import TrainingModel

COLORS = ("red", "yellow", "green", "blue", "purple", "white")
ADJECTIVES = (
    *COLORS, "black", "brown", "orange", "pink", "gray", "golden", "striped", "spotted", "plain", "shiny", "wooden",
    "metal", "glass", "plastic", "furry", "fluffy", "smooth", "rough", "old", "new", "dirty", "clean", "small", "large",
    "round", "thin", "dark", "bright", "cartoon", "knitted",
)  # fmt: skip
"""Looks that words can say; alone, and each two colors together."""


@torch.no_grad()
def described_residual(model: TrainingModel, subject: str, description: str, captions: Sequence[Caption]) -> Tensor:
    """What a description adds to the subject's embeddings, in the mean over the captions: [token_num, d] float32.

    captions: the 27 of the subject alone, whose spans say how many of its tokens count. Raises ConfigError for a
    description that says nothing before the subject.
    """
    told = described_captions(subject, description, model.prompt_tokens, model.tokenize)
    return torch.stack(
        [
            _rows(model, one.text, one.span[: len(plain.span)]) - _rows(model, plain.text, plain.span)
            for one, plain in zip(told, captions, strict=True)
        ]
    ).mean(0)


@torch.no_grad()
def word_basis(model: TrainingModel, subject: str, caption: Caption, size: int) -> tuple[Tensor, Tensor]:
    """The principal directions of what adjectives add to the subject's embeddings, and their mean.

    Returns directions [size or fewer, token_num, d], each as long as the spread along it, and [token_num, d].
    """
    plain = _rows(model, caption.text, caption.span)
    phrases = [*ADJECTIVES, *(f"{first} and {second}" for first, second in permutations(COLORS, 2))]
    phrases += [f"{first} striped {second}" for first, second in permutations(COLORS, 2)]
    shifts = []
    for words in phrases:
        told = place_subject(f"a photo of a {words} {{}}", subject, model.prompt_tokens, model.tokenize)
        shifts.append((_rows(model, told.text, told.span[: len(caption.span)]) - plain).flatten())
    stacked = torch.stack(shifts)
    mean = stacked.mean(0)
    _, spreads, directions = torch.linalg.svd(stacked - mean, full_matrices=False)
    kept = int((spreads > 1e-3 * spreads[0]).sum())
    if not kept:
        raise ModelError("words change nothing about this text encoder's embeddings: train without a basis")
    scaled = directions * (spreads / len(shifts) ** 0.5)[:, None]
    return scaled[: min(size, kept)].unflatten(1, plain.shape), mean.view_as(plain)


def _rows(model: TrainingModel, prompt: str, span: Sequence[int]) -> Tensor:
    encoded: Conditioning = model.encode_text([prompt])
    return encoded.embeds[0, list(span)].float()
