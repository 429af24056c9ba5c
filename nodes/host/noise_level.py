"""Noise levels of ComfyUI's models in the engine's units."""

from __future__ import annotations

from typing import Any

from comfy.model_sampling import CONST
from torch import Tensor

from ...cones2.sampling.noise import flow_sigma


def is_flow(model_sampling: Any) -> bool:
    """Whether a model's latents are (1 − t) · latents + t · noise, so that what the host calls σ is t."""
    return isinstance(model_sampling, CONST)


def noise_sigma(model_sampling: Any, sigma: Tensor) -> Tensor:
    """The ratio of noise to signal σ of what the host calls σ."""
    return flow_sigma(sigma) if is_flow(model_sampling) else sigma
