"""Prompt, layout, sampling and oracle that the drivers of transformers share."""

from typing import Any

import comfy.sample
import scenes
import torch
from oracle import Oracle, with_override
from tiny_transformers import Family
from torch import Tensor

PROMPT = "a dog and a mug on the beach"
NEGATIVE = "a mug and a dog on the beach"  # of the same length, so that both run in one forward pass
LEFT, RIGHT = (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)


def layout(height: int = 128, width: int = 192, **boxes: Any) -> Any:
    return scenes.layout(**{"dog": LEFT, "mug": RIGHT, **boxes}, height=height, width=width)


def sample(model: Any, positive: Any, negative: Any, start: Tensor, steps: int = 2, cfg: float = 4.0) -> Tensor:
    with torch.inference_mode():
        return comfy.sample.sample(
            model, start, steps, cfg, "euler", "simple", positive, negative, torch.zeros_like(start), seed=0,
            disable_pbar=True,
        )  # fmt: skip


def bound(conditioning: Any) -> Any:
    return conditioning[0][1]["cones2_layout"]


def grid_of(family: Family, start: Tensor) -> tuple[int, int]:
    height, width = (-(-side // family.patch) for side in start.shape[-2:])
    return height, width


def oracle_of(model: Any, family: Family, guided: Any, start: Tensor, extra: dict[int, Any] | None = None) -> Any:
    """The plain model with the formula written out."""
    rows, before = running_rows(family, guided[0][0])
    layouts = {0: bound(guided), **(extra or {})}
    flow = hasattr(model.get_model_object("model_sampling"), "shift") or family.base != "CosmosPredict2"
    return with_override(model, Oracle(family, layouts, grid_of(family, start), rows, before, flow))


def running_rows(family: Family, cond: Tensor) -> tuple[int, int]:
    """Tokens of the prompt that runs, and how many the host put before it."""
    if family.base == "Flux2":
        return max(512, cond.shape[1]), max(0, 512 - cond.shape[1])
    return (512 if family.base == "Anima" else cond.shape[1]), 0
