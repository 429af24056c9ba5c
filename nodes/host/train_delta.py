"""Trains deltas of Custom Diffusion with the host's MODEL, CLIP and VAE."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...cones2.custom_diffusion.delta import Delta
from ...cones2.custom_diffusion.files import load_delta, save_delta
from ...cones2.errors import ConfigError
from ...cones2.messages import shown
from ...cones2.training.class_photos import make_class_photos
from ...cones2.training.concepts import TrainingConcept, tokens_in
from ...cones2.training.config import TrainingConfig, delta_config
from ...cones2.training.delta_session import DeltaRun, check_before_pictures, prepare_delta_run
from ...cones2.training.history import Record
from ...cones2.training.model import TrainingModel
from ...cones2.training.views import Photo
from .delta_folder import delta_path
from .delta_model import layers_per_block
from .delta_training_model import delta_training_model
from .photo_folders import class_folder_photos
from .train import (
    check_connected,
    continued_or_anew,
    encode_empty,
    outcome_of,
    picture_progress,
    refuse_diverged,
    run_to_the_end,
    side_of,
)
from .training_model import base_model_name, picture_grid, precision_of
from .training_runs import RUN_KEY, ResultFiles, Run, find_run
from .training_view import training_view

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

DELTA_FILES: ResultFiles[Delta] = ResultFiles(load_delta, save_delta)
_PROMPT_MARKS = frozenset("+()\\")
"""Characters that stand between tokens or weigh a part of a prompt: a word with them is not read as one."""
_AHEAD = 32  # updates whose photos are encoded together: the host may move the UNet out for the VAE

Outcome = tuple[Delta, Sequence[Record]]
"""A delta and the history of its training."""


@dataclass(frozen=True)
class DeltaSettings:
    """What decides a training beside its numbers.

    prompt: what the photos show. size: of the training pictures in pixels. flip: mirror half of the photos.
    class_pictures: how many the model makes. captions: of the pictures of the class that were given.
    """

    prompt: str
    size: int
    flip: bool
    class_pictures: int
    captions: tuple[str, ...] = ()


def learn_delta(
    photos: list[Photo],
    model: ModelPatcher,
    clip: CLIP,
    vae: VAE,
    resolution: int,
    flip: bool,
    class_pictures: int,
    class_folder: str,
    save_name: str,
    gradient_checkpointing: bool,
    preview_every: int,
    **settings: Any,
) -> Outcome:
    """The delta and its history, from an earlier run of the same inputs where there is one; saved under its name.

    settings: see `settings_of`. Raises ConfigError naming what is wrong before anything is trained.
    """
    check_connected(model, clip, vae)
    path = delta_path(save_name) if save_name.strip() else None
    layers_per_block(model)  # of a transformer it says that there is none
    picture_grid(model, clip, vae)
    config = settings_of(precision_of(model), **settings)
    word = config.subject
    prompt = " ".join(["photo of a", *config.token_names, word])
    side = side_of(resolution, model, clip)
    own = class_folder_photos(class_folder, word, side)
    concept = TrainingConcept(prompt, word, photos, own)
    captions = tuple(picture.caption for picture in own)
    asked = DeltaSettings(prompt, side, flip, 0 if own else class_pictures, captions)
    shown_pictures = [*photos, *(picture.photo for picture in own)]
    run = find_run(DELTA_FILES, config, asked, shown_pictures, model, clip, vae)

    def train() -> Outcome:
        with delta_training_model(model, clip, vae, config, gradient_checkpointing) as training_model:
            return _train(run, training_model, model, concept, asked, config, preview_every)

    return outcome_of(run, train, path)


def settings_of(precision: str, class_word: str, token: str, batch_size: int, **given: Any) -> TrainingConfig:
    """The published numbers, with those that are given; what is 0 stays as published, and so do the photos of an
    update. Raises ConfigError for a token that is not one word in angle brackets."""
    token = token.strip()
    if token and (tokens_in([token]) != [token] or set(token) & _PROMPT_MARKS):
        raise ConfigError(f'"{shown(token, 40)}" cannot be a token: write one word in angle brackets, such as <new1>')
    weight = given.pop("prior_weight")
    given = {name: value for name, value in given.items() if value or isinstance(value, bool)}
    own = delta_config(class_word)
    given.setdefault("accumulation", max(1, own.batch_size * own.accumulation // batch_size))
    return delta_config(
        class_word, tokens=token, batch_size=batch_size, precision=precision, prior_weight=weight, **given
    )


def _train(
    run: Run[Delta],
    training_model: TrainingModel,
    model: ModelPatcher,
    concept: TrainingConcept,
    asked: DeltaSettings,
    config: TrainingConfig,
    preview_every: int,
) -> Outcome:
    """Train to the end, from the checkpoint where there is one; raises the host's interrupt when stopped."""
    plain = encode_empty(training_model) if preview_every else None
    if asked.class_pictures:
        check_before_pictures([concept], config, asked.size, training_model)
        made = make_class_photos(
            training_model,
            concept.class_prompt,
            asked.class_pictures,
            asked.size,
            config.seed,
            run.kept_pictures,
            picture_progress(),
        )
        concept = dataclasses.replace(concept, class_photos=made)

    def prepare() -> DeltaRun:
        return prepare_delta_run(
            training_model, [concept], config, asked.size, asked.flip, run.checkpoint, ahead=_AHEAD
        )

    prepared = continued_or_anew(prepare, run.checkpoint)
    show = training_view(prepared.trainer, prepared.method, plain, model, asked.size, preview_every)
    result = run_to_the_end(prepared.trainer, show)
    facts = {"resolution": str(asked.size), RUN_KEY: run.key}
    delta = prepared.result(result, base_model_name(model), layers_per_block(model), **facts)
    refuse_diverged(run, config, result, delta)
    return delta, result.history
