"""One training of an image adapter from labeled pictures to its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..messages import shown
from ..picture_adapter.adapter import PictureAdapter
from .adapter_batches import AdapterBatches, ImageReader
from .adapter_data import LabeledPicture
from .adapter_method import AdapterMethod
from .config import TrainingConfig
from .loop import SINGLE, Parallel, Trainer, TrainingResult
from .memory import MemoryEstimate, activation_bytes, check_memory
from .model import TrainingModel

_FLOATS = 4  # bytes
_COPIES = 4  # of each number that learns: itself, its gradient, Adam's two moments


@dataclass(frozen=True, eq=False)
class AdapterRun:
    """A training that is ready to start, or continued from its checkpoint.

    trainer: the loop. method: what it trains. pictures: what it learns from.
    """

    trainer: Trainer
    method: AdapterMethod
    pictures: Sequence[LabeledPicture]

    def result(self, result: TrainingResult, base_model: str, **facts: str) -> tuple[PictureAdapter, dict[str, str]]:
        """The adapter, and the facts of its training as metadata. base_model: file or folder name of the model."""
        config = self.trainer.config
        return self.method.adapter(), {
            "method": config.method,
            "base_model": shown(base_model),
            "steps": str(result.steps),
            "learning_rate": f"{config.learning_rate:g}",
            "batch_size": str(config.batch_size * config.accumulation * self.trainer.parallel.world),
            "learned_projection": str(config.learn_projection).lower(),
            "drop": f"{config.drop:g}",
            "seed": str(config.seed),
            "pictures": str(len(self.pictures)),
            "stopped": result.reason,
            **facts,
        }


def prepare_adapter_run(
    model: TrainingModel,
    reader: ImageReader,
    start: PictureAdapter,
    pictures: Sequence[LabeledPicture],
    config: TrainingConfig,
    size: int,
    checkpoint: Path | None = None,
    parallel: Parallel = SINGLE,
) -> AdapterRun:
    """A run that is ready to start, or continued from its checkpoint where there is one.

    start: what is trained further, or newly made weights. size: pixels of a training picture's side.
    Raises ModelError when it cannot fit into memory, ConfigError for an impossible size or a checkpoint of another
    run.
    """
    if size < model.size_multiple or size % model.size_multiple:
        raise ConfigError(f"the resolution is {size}: it must be a multiple of {model.size_multiple} pixels")
    batches = AdapterBatches(model, reader, pictures, config, size, parallel.rank, parallel.world)
    method = AdapterMethod(model, config, start)
    (_, first), *_ = batches(0, 0)
    conditioning = model.encode_text([""])
    learning = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
    estimate = MemoryEstimate(
        activations=len(first.latents) * activation_bytes(model, conditioning.detached(), first.latents[0]),
        trainable=_FLOATS * _COPIES * learning,
        captions=0,
    )
    check_memory(estimate, model.device, config.method)
    trainer = Trainer(method, batches, config, (), checkpoint, batches.fingerprint, parallel)
    trainer.resume()
    return AdapterRun(trainer, method, pictures)
