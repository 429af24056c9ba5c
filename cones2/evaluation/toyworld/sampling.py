"""Pictures from the toy model, through the project's own engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...concepts.residual import make_residual
from ...layout.regions import Box, layout_from_boxes
from ...rules import DEFAULT_GUIDANCE, GuidanceSettings
from ...sampling.settings import SamplingSettings
from ...scene import LatentModel, compose
from .world import SIZE

BoxTable = Mapping[str, Box]  # subject word → where it belongs, in fractions of the picture


@dataclass(frozen=True)
class Recipe:
    """How evaluation samples."""

    steps: int = 16
    cfg: float = 4.0
    guidance_weight: float = DEFAULT_GUIDANCE.guidance_weight
    recurrence: bool = True


DEFAULT = Recipe()


def sample(
    model: LatentModel,
    text: str,
    seeds: Sequence[int],
    recipe: Recipe = DEFAULT,
    residuals: Mapping[str, Tensor] | None = None,
    boxes: BoxTable | None = None,
) -> Tensor:
    """Pictures [len(seeds), 3, 64, 64] in [0, 1] of one prompt. residuals: word → vector [d]."""
    subjects = [make_residual(word, vector) for word, vector in (residuals or {}).items()]
    layout = layout_from_boxes(list(boxes.values()), list(boxes), SIZE, SIZE, "fractions") if boxes else None
    guidance = GuidanceSettings(guidance_weight=recipe.guidance_weight)
    scene = compose(model, text, subjects, layout, guidance=guidance)
    settings = SamplingSettings(
        steps=recipe.steps,
        guided_steps=None if layout else 0,
        cfg=recipe.cfg,
        recurrence=recipe.recurrence,
        seeds=seeds,
        height=SIZE,
        width=SIZE,
    )
    return pixels(model.decode(model.sample(scene, settings)))


def pixels(decoded: Tensor) -> Tensor:
    """Decoder output, −1 … 1, as values in [0, 1] on the CPU."""
    return (decoded.float() / 2 + 0.5).clamp(0, 1).cpu()
