"""Models of tests are read once."""

from __future__ import annotations

import functools

from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model


@functools.cache
def load_once(*args: object, **options: object) -> DiffusersModel:
    """`load_model`, remembered for the same arguments."""
    return load_model(*args, **options)  # type: ignore[arg-type]
