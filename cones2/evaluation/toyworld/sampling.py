"""Pictures from the toy model, through the project's own engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ...diffusers_models.latent_model import EncodedPrompt, SamplingSettings, StableDiffusion
from ...guidance.cross_attention import LayoutBias
from ...guidance.weight_maps import weight_maps
from ...layout.regions import Box, layout_from_boxes
from ...prompt.tokens import find_phrase
from .world import SIZE

BoxTable = Mapping[str, Box]  # subject word → where it belongs, in fractions of the picture


@dataclass(frozen=True)
class Recipe:
    """How evaluation samples; `guidance_weight` is the layout's g."""

    steps: int = 16
    cfg: float = 4.0
    guidance_weight: float = 0.08
    recurrence: bool = True


DEFAULT = Recipe()


def with_residuals(
    model: StableDiffusion, prompt: EncodedPrompt, residuals: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """The conditioning with each word's residual [d] added on every row where the word stands."""
    conditioning = prompt.conditioning.clone()
    for word, residual in residuals.items():
        for rows in find_phrase(prompt.tokens, word, model.tokenize):
            conditioning[0, list(rows)] += residual
    return conditioning


def layout_guidance(
    model: StableDiffusion, prompt: EncodedPrompt, boxes: BoxTable, guidance_weight: float
) -> LayoutBias:
    """Guidance that puts each word into its box."""
    layout = layout_from_boxes(list(boxes.values()), list(boxes), SIZE, SIZE, "fractions")
    spans = [find_phrase(prompt.tokens, word, model.tokenize) for word in boxes]
    return LayoutBias(weight_maps(layout, spans), guidance_weight)


def sample(
    model: StableDiffusion,
    text: str,
    seeds: Sequence[int],
    recipe: Recipe = DEFAULT,
    residuals: Mapping[str, torch.Tensor] | None = None,
    boxes: BoxTable | None = None,
) -> torch.Tensor:
    """Pictures [len(seeds), 3, 64, 64] in [0, 1] of one prompt."""
    prompt, empty = model.encode_prompts(text, "")
    guidance = layout_guidance(model, prompt, boxes, recipe.guidance_weight) if boxes else None
    settings = SamplingSettings(
        steps=recipe.steps,
        guidance_steps=None if guidance else 0,
        cfg=recipe.cfg,
        recurrence=recipe.recurrence,
        seeds=seeds,
        height=SIZE,
        width=SIZE,
    )
    conditioning = with_residuals(model, prompt, residuals or {})
    latents = model.sample(conditioning, empty.conditioning, guidance, settings)
    return (model.decode(latents).float() / 2 + 0.5).clamp(0, 1).cpu()
