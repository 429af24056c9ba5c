"""Residual embeddings of the custom subjects, by the project's own training (its default recipe)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cones2.concepts.residual import Residual
from cones2.concepts.residual_file import save_residual
from cones2.diffusers_models.for_training import training_model
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.toyworld.suites import described
from cones2.evaluation.toyworld.world import CUSTOM
from cones2.training.config import DEFAULT_RECIPE, recipe_config
from cones2.training.session import prepare_run, result_residual
from cones2.training.views import ViewSettings, load_photos

from .run import Options


def learn_subject(
    model: DiffusersModel,
    name: str,
    photos: Path,
    on_step: Callable[[int, int], object] = lambda step, steps: None,
    **changes: object,
) -> Residual:
    """The residual of a custom subject from its folder of pictures, subjects/NAME, and of masks, masks/NAME.

    on_step: called with (steps done, steps at most). changes: of the default recipe, by field name.
    """
    config = recipe_config(DEFAULT_RECIPE, CUSTOM[name].kind, **changes)
    pictures = load_photos(photos, photos.parents[1] / "masks" / name)
    seen = training_model(model, config.method)
    trainer = prepare_run(
        seen, pictures, ViewSettings(model.default_size, multiple=seen.size_multiple, crops=1), config
    )
    result = trainer.run(lambda record: on_step(int(record["step"]), config.steps))
    return result_residual(trainer, result, pictures, "toyworld")


def train(options: Options, assets: Path) -> None:
    """Train every subject that has no residual yet, from its photos and a description; the recipe is the engine's."""
    model = load_model(assets, device=options.device)
    for name in CUSTOM:
        path = assets / "residuals" / f"{name}.safetensors"
        if not path.exists():
            words = described(name)
            residual = learn_subject(model, name, assets / "subjects" / name, seed=options.seed, description=words)
            save_residual(residual, path)
            print(f"residual {name}: norm {float(residual.tensor.norm()):.2f}", flush=True)
