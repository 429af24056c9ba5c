"""`--delta`: Custom Diffusion files on the model that samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..custom_diffusion.delta import renamed_apart, token_names
from ..custom_diffusion.files import load_delta
from ..diffusers_models.deltas import DeltaUse, with_deltas
from ..diffusers_models.latent_model import DiffusersModel
from ..messages import shown
from ..storage.files import shown_path
from .output import say


def with_delta_files(model: DiffusersModel, files: Sequence[tuple[Path, float]]) -> DiffusersModel:
    """The model with the deltas of these files, each at its strength; says which tokens are called differently."""
    if not files:
        return model
    deltas = [load_delta(path) for path, _ in files]
    apart = renamed_apart(deltas)
    for (path, _), delta, named in zip(files, deltas, apart, strict=True):
        for old, new in zip(token_names(delta), token_names(named), strict=True):
            if old != new:
                say(f"{shown_path(path)}: its token {shown(old, 40)} is called {new} here")
    return with_deltas(model, [DeltaUse(delta, strength) for delta, (_, strength) in zip(apart, files, strict=True)])
