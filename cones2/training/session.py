"""One subject's training from photos to a residual, shared by the command line and the nodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..concepts.cutout import STORED_SIDE
from ..concepts.fingerprint import FINGERPRINT_KEY, encoder_fingerprint
from ..concepts.residual import Residual, make_residual
from ..messages import shown
from .batches import LatentBatches, encode_views, fingerprint
from .class_pictures import ClassPictures, OnPicture
from .comparison import compare
from .config import TrainingConfig
from .loop import SINGLE, Parallel, Trainer, TrainingResult
from .material import Material, photo_views, with_scenes
from .memory import check_memory, estimate_memory
from .methods import make_method
from .model import TrainingModel
from .scenes import cutouts_of
from .views import Photo, ViewSettings

log = logging.getLogger(__name__)

_CUTOUTS = 3  # that a residual's file carries


def prepare_run(
    model: TrainingModel,
    photos: Sequence[Photo],
    views: ViewSettings,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    parallel: Parallel = SINGLE,
    pictures: Path | None = None,
    on_picture: OnPicture = lambda made, count: None,
) -> Trainer:
    """A run that is ready to start, or continued from its checkpoint where there is one.

    pictures: folder that keeps the class pictures of an unfinished run; on_picture: told of each one that is made.
    Raises ModelError when it cannot fit into memory, ConfigError for unusable photos or a
    checkpoint of another run.
    """
    seen = photo_views(photos, views, config)
    latents = encode_views(model, seen)
    method = make_method(model, config)
    largest = max((view.mean for view in latents), key=torch.numel)
    check_memory(estimate_memory(model, config, method.frozen, largest), model.device, config.method)
    material = Material(latents, latents)
    if config.scenes:
        channels, cells = len(largest), views.resolution // model.vae_scale_factor
        makers = ClassPictures(
            model, config.partner_phrases, config.class_pictures, (channels, cells, cells), config.seed, pictures
        )
        material = with_scenes(model, latents, photos, makers.make(on_picture), config)
    batches = LatentBatches(
        material.views,
        config,
        len(method.book.choices[""]),
        model.noise.train_steps,
        model.device,
        parallel.rank,
        parallel.world,
        material.held_out,
        method.book if config.guided else None,
    )
    data = fingerprint([*latents, *material.scenes])
    trainer = Trainer(method, batches, config, batches.held_out(), checkpoint, data, parallel)
    trainer.resume()
    return trainer


def result_residual(
    trainer: Trainer,
    result: TrainingResult,
    photos: Sequence[Photo],
    base_model: str,
    facts: Mapping[str, str] | None = None,
) -> Residual:
    """The trained residual with the facts of its training as metadata; `facts` adds to them.

    photos: what it was learned from; of those with masks it gets the best cut-outs.
    base_model: file or folder name of the model. The metadata identifies the text encoder it was trained with.
    A finished run says in the log what it was worth.
    """
    config = trainer.config
    comparison = compare(trainer, result.residual) if result.reason in ("finished", "converged") else None
    if comparison is not None:
        log.log(
            logging.INFO if comparison.helped else logging.WARNING,
            "%s: %s", shown(config.subject), comparison.sentence(),
        )  # fmt: skip
    metadata = {
        "method": config.method,
        "recipe": config.recipe,
        "base_model": shown(base_model),
        **(trainer.method.model.encoder_facts or {FINGERPRINT_KEY: encoder_fingerprint(trainer.method.frozen.embeds)}),
        "steps": str(result.steps),
        "learning_rate": f"{config.learning_rate:g}",
        "batch_size": str(config.batch_size * config.accumulation),
        "seed": str(config.seed),
        "photos": str(len(photos)),
        "norm": f"{float(torch.linalg.vector_norm(result.residual)):.4g}",
        "stopped": result.reason,
        **({} if result.held_out is None else {"held_out_error": f"{result.held_out:.6g}"}),
        **({} if comparison is None else comparison.facts()),
        **({"description": shown(config.description)} if config.description else {}),
        **(facts or {}),
    }
    cutouts = cutouts_of(photos, STORED_SIDE)[:_CUTOUTS]
    return make_residual(config.subject, result.residual, metadata).with_cutouts(cutouts)
