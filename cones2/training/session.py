"""One subject's training from photos to a residual, shared by the command line and the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..concepts.fingerprint import FINGERPRINT_KEY, encoder_fingerprint
from ..concepts.residual import Residual, make_residual
from ..messages import shown
from .batches import LatentBatches, encode_views, fingerprint
from .config import TrainingConfig
from .loop import SINGLE, Parallel, Trainer, TrainingResult
from .memory import check_memory, estimate_memory
from .methods import make_method
from .model import TrainingModel
from .views import Photo, ViewSettings, make_views


def prepare_run(
    model: TrainingModel,
    photos: Sequence[Photo],
    views: ViewSettings,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    parallel: Parallel = SINGLE,
) -> Trainer:
    """A run that is ready to start, or continued from its checkpoint where there is one.

    Raises ModelError when it cannot fit into memory, ConfigError for unusable photos or a
    checkpoint of another run.
    """
    latents = encode_views(model, make_views(photos, views))
    method = make_method(model, config)
    largest = max((view.mean for view in latents), key=torch.numel)
    check_memory(estimate_memory(model, config, method.frozen, largest), model.device, config.method)
    batches = LatentBatches(
        latents, config, len(method.captions), model.noise.train_steps, model.device, parallel.rank, parallel.world
    )
    trainer = Trainer(method, batches, config, batches.held_out(), checkpoint, fingerprint(latents), parallel)
    trainer.resume()
    return trainer


def result_residual(
    trainer: Trainer, result: TrainingResult, photos: int, base_model: str, facts: Mapping[str, str] | None = None
) -> Residual:
    """The trained residual with the facts of its training as metadata; `facts` adds to them.

    base_model: file or folder name of the model. The metadata's encoder fingerprint identifies the text encoder
    it was trained with.
    """
    config = trainer.config
    metadata = {
        "method": config.method,
        "base_model": shown(base_model),
        FINGERPRINT_KEY: encoder_fingerprint(trainer.method.frozen.embeds),
        "steps": str(result.steps),
        "learning_rate": f"{config.learning_rate:g}",
        "batch_size": str(config.batch_size * config.accumulation),
        "seed": str(config.seed),
        "photos": str(photos),
        "norm": f"{float(torch.linalg.vector_norm(result.residual)):.4g}",
        "stopped": result.reason,
        **({} if result.held_out is None else {"held_out_error": f"{result.held_out:.6g}"}),
        **(facts or {}),
    }
    return make_residual(config.subject, result.residual, metadata)
