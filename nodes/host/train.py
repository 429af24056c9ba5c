"""Trains with the host's MODEL, CLIP and VAE: run files and interrupts, and residuals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import comfy.model_management
import torch
from torch import Tensor

from ...cones2.concepts.residual import Residual
from ...cones2.concepts.residual_file import load_residual, save_residual
from ...cones2.errors import CheckpointError, ConfigError, ModelError
from ...cones2.prompt.conditioning import Conditioning
from ...cones2.training.class_pictures import OnPicture
from ...cones2.training.config import DEFAULT_RECIPE, MethodName, RecipeName, TrainingConfig, recipe_config
from ...cones2.training.history import Record
from ...cones2.training.loop import Trainer, TrainingResult
from ...cones2.training.model import TrainingModel
from ...cones2.training.session import prepare_run, result_residual
from ...cones2.training.views import Photo, ViewSettings, photos_from_pixels
from .folders import residual_path
from .images import check_images, check_mask
from .photo_folders import folder_photos
from .training_model import base_model_name, own_side, picture_grid, precision_of, trainable_model
from .training_runs import RUN_KEY, Learned, ResultFiles, Run, find_run
from .training_transformer import check_transformer, is_transformer
from .training_view import training_view

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

log = logging.getLogger(__name__)

_HIGHEST_PAPER_RATE = 1e-2
_LEAST_SIDE = 64  # pixels

Outcome = tuple[Residual, Sequence[Record]]
"""A residual and the history of its training."""

RESIDUAL_FILES: ResultFiles[Residual] = ResultFiles(load_residual, save_residual)
Result = TypeVar("Result", bound=Learned)


def photos_of(images: Sequence[Tensor], masks: Sequence[Tensor] | None) -> list[Photo]:
    """All photos of a batch [B, H, W, C] or a list of batches; masks the same, or one mask for all."""
    if masks is not None and len(masks) not in (1, len(images)):
        raise ConfigError(f"{len(masks)} masks for {len(images)} images: give one for all or one for each")
    photos: list[Photo] = []
    for index, batch in enumerate(images):
        check_images(batch, "images", ConfigError)
        mask = None if masks is None else masks[index if len(masks) > 1 else 0]
        if mask is not None:
            check_mask(mask, "masks", ConfigError)
            if len(images) > 1 and masks is not None and len(masks) == 1 and len(mask) == len(images):
                mask = mask[index : index + 1]
        photos += photos_from_pixels(batch, mask)
    return [replace(photo, name=f"image {number}") for number, photo in enumerate(photos, 1)]


def all_photos(images: Sequence[Tensor], masks: Sequence[Tensor] | None, folder: str) -> list[Photo]:
    """The photos that are connected, with their masks, and those of a folder. Raises ConfigError where none is."""
    if masks is not None and not images:
        raise ConfigError("masks are connected without images: photos of a folder are cut out by their transparency")
    photos = [*(photos_of(images, masks) if images else ()), *folder_photos(folder)]
    if not photos:
        raise ConfigError("there are no photos to learn from: connect 3 to 6 of them, or choose their folder")
    return photos


def settings_of(
    precision: str,
    method: MethodName,
    subject: str,
    batch_size: int,
    recipe: RecipeName = DEFAULT_RECIPE,
    **given: Any,
) -> TrainingConfig:
    """The recipe; method paper is always the published one. What is 0 or empty stays as the recipe says, and so do the
    samples of an update."""
    chosen = "paper" if method == "paper" else recipe
    given = {name: value for name, value in given.items() if value and (name != "description" or chosen != "paper")}
    own = recipe_config(chosen, subject)
    given.setdefault("accumulation", max(1, own.batch_size * own.accumulation // batch_size))
    if chosen == "paper" and given.get("learning_rate", 0) > _HIGHEST_PAPER_RATE:
        raise ConfigError(
            f"a learning rate of {given['learning_rate']:g} is for the direct method: the published one of the paper "
            f"method is {own.learning_rate:g}"
        )
    return recipe_config(chosen, subject, batch_size=batch_size, precision=precision, **given)


def learn(
    photos: list[Photo],
    model: ModelPatcher,
    clip: CLIP,
    vae: VAE,
    resolution: int,
    save_name: str,
    gradient_checkpointing: bool,
    preview_every: int,
    **settings: Any,
) -> Outcome:
    """The residual and its history, from an earlier run of the same inputs where there is one; saved under its name."""
    check_connected(model, clip, vae)
    path = residual_path(save_name) if save_name.strip() else None
    if is_transformer(model):
        check_transformer(model, clip, settings["method"], settings.get("recipe", DEFAULT_RECIPE))
    multiple = picture_grid(model, clip, vae)[1]
    config = settings_of(precision_of(model), **settings)
    views = ViewSettings(side_of(resolution, model, clip), multiple=multiple, seed=config.seed)
    run = find_run(RESIDUAL_FILES, config, views, photos, model, clip, vae)

    def train() -> Outcome:
        with trainable_model(model, clip, vae, config.method, gradient_checkpointing) as training_model:
            return _train(run, training_model, model, photos, views, config, preview_every)

    return outcome_of(run, train, path)


def check_connected(model: ModelPatcher, clip: CLIP, vae: VAE) -> None:
    """Raise ModelError for an input that is None."""
    for name, part in (("model", model), ("clip", clip), ("vae", vae)):
        if part is None:
            raise ModelError(f"the {name} input is empty: connect all three outputs of a checkpoint loader")


def side_of(resolution: int, model: ModelPatcher, clip: CLIP) -> int:
    """Side of the training pictures in pixels: the model's own where 0 is given. Raises ConfigError for a small one."""
    side = resolution or own_side(model, clip)
    if side < _LEAST_SIDE:
        raise ConfigError(f"the resolution is {side}: it must be at least {_LEAST_SIDE}, or 0 for the model's own")
    return side


def outcome_of(
    run: Run[Result], train: Callable[[], tuple[Result, Sequence[Record]]], path: Path | None
) -> tuple[Result, Sequence[Record]]:
    """What a run ended with earlier, or ends with now; saved at a path where one is given."""
    outcome = run.finished()
    if outcome is None:
        with torch.inference_mode(False):
            outcome = train()
            run.finish(*outcome)
    else:
        log.info("these inputs were trained before: their result is used again")
    if path is not None:
        run.save_once(outcome[0], path)
    return outcome


def _train(
    run: Run[Residual],
    training_model: TrainingModel,
    model: ModelPatcher,
    photos: list[Photo],
    views: ViewSettings,
    config: TrainingConfig,
    preview_every: int,
) -> Outcome:
    """Train to the end, from the checkpoint where there is one; raises the host's interrupt when stopped."""
    # the empty prompt first: encoding text later could push the UNet out of its memory
    plain = encode_empty(training_model) if preview_every else None
    trainer = continued_or_anew(lambda: _prepare(run, training_model, photos, views, config), run.checkpoint)
    show = training_view(trainer, trainer.method, plain, model, views.resolution, preview_every)
    result = run_to_the_end(trainer, show)
    facts = {"resolution": str(views.resolution), RUN_KEY: run.key}
    residual = result_residual(trainer, result, photos, base_model_name(model), facts)
    refuse_diverged(run, config, result, residual)
    return residual, result.history


def _prepare(
    run: Run[Residual], training_model: TrainingModel, photos: list[Photo], views: ViewSettings, config: TrainingConfig
) -> Trainer:
    return prepare_run(
        training_model,
        photos,
        views,
        config,
        run.checkpoint,
        pictures=run.class_pictures,
        on_picture=picture_progress(),
    )


Prepared = TypeVar("Prepared")


def continued_or_anew(prepare: Callable[[], Prepared], checkpoint: Path) -> Prepared:
    """What `prepare` makes; a checkpoint that cannot be continued is dropped.

    The run's key has identified photos and weights already: the VAE gave other bits, in tiles for example.
    """
    try:
        return prepare()
    except CheckpointError as error:
        log.warning("training starts anew: %s", error)
    checkpoint.unlink(missing_ok=True)
    return prepare()


def run_to_the_end(trainer: Trainer, show: Callable[[Record], None]) -> TrainingResult:
    """Train; raises the host's interrupt when stopped. Whatever ends the run early leaves its checkpoint."""
    try:
        result = trainer.run(show, comfy.model_management.processing_interrupted)
    except comfy.model_management.InterruptProcessingException:  # the progress bar raises it too
        trainer.save()
        raise
    except torch.OutOfMemoryError as error:
        trainer.save()
        raise ModelError(_out_of_memory(trainer)) from error
    if result.reason == "interrupted":
        comfy.model_management.throw_exception_if_processing_interrupted()  # takes the host's flag back
        raise comfy.model_management.InterruptProcessingException
    return result


def picture_progress() -> OnPicture:
    """Moves the host's progress bar with the class pictures; raises the host's interrupt when stopped."""

    def on_picture(made: int, count: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        comfy.utils.ProgressBar(count).update_absolute(made, count)

    return on_picture


def _out_of_memory(trainer: Trainer) -> str:
    method = ", or use the direct method" if trainer.config.method == "paper" else ""
    return (
        f"out of memory at step {trainer.step + 1}: turn on gradient_checkpointing, which continues this run, lower "
        f"the resolution or batch_size{method}"
    )


def refuse_diverged(run: Run[Result], config: TrainingConfig, result: TrainingResult, learned: Result) -> None:
    """Raise ModelError for a run that has diverged; what it had learned until then is kept."""
    if result.reason == "diverged":
        raise ModelError(
            f"the loss is NaN or infinite at step {result.steps + 1}: lower the learning rate "
            f"({config.learning_rate:g}); the last good result is {run.keep_partial(learned)}"
        )


@torch.no_grad()
def encode_empty(training_model: TrainingModel) -> Conditioning:
    """The conditioning of the empty prompt, for previews."""
    return training_model.encode_text([""])
