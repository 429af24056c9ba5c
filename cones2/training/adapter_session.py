"""One training of an image adapter from labeled pictures to its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Cones2Error, ConfigError
from ..messages import shown
from ..picture_adapter.adapter import PictureAdapter
from .adapter_batches import AdapterBatches, ImageReader
from .adapter_data import LABELS, LabeledPicture
from .adapter_files import OnChecked, check_files
from .adapter_method import AdapterMethod
from .checkpoint import weights_digest
from .config import TrainingConfig
from .loop import SINGLE, Parallel, Trainer, TrainingResult
from .memory import MemoryEstimate, activation_bytes, check_memory
from .model import TrainingModel

_FLOATS = 4  # bytes
_COPIES = 3  # of each number that learns, beside itself: its gradient and Adam's two moments


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
    networks: str = "",
    on_checked: OnChecked = lambda checked, count: None,
) -> AdapterRun:
    """A run that is ready to start, or continued from its checkpoint where there is one.

    start: what is trained further, or newly made weights. size: pixels of a training picture's side.
    networks: digest of the model's and the image encoder's weights. on_checked: told of each picture whose files were
    checked.
    Raises ModelError when it cannot fit into memory, ConfigError for an impossible size, a file or name that
    cannot be used (with the number of its line), or a checkpoint of another run.
    """
    if size < model.size_multiple or size % model.size_multiple:
        raise ConfigError(f"the resolution is {size}: it must be a multiple of {model.size_multiple} pixels")
    _check_names(model, pictures)
    files = check_files(pictures, on_checked)
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
    data = " ".join((batches.fingerprint, files, networks, _digest(start)))
    trainer = Trainer(method, batches, config, (), checkpoint, data, parallel)
    trainer.resume()
    return AdapterRun(trainer, method, pictures)


def _check_names(model: TrainingModel, pictures: Sequence[LabeledPicture]) -> None:
    """Raise ConfigError for a caption that the model cannot read, or a name that no token of its is of."""
    known = set[str]()
    for picture in pictures:
        texts = {picture.caption, *(each.name for each in picture.objects)} - known
        where = f"{LABELS}, line {picture.line}"
        for text in sorted(texts):
            try:
                tokens = model.prompt_tokens(text).tokens
            except Cones2Error as error:
                raise ConfigError(f"{where}: {error}") from error
            if not tokens and text != picture.caption:
                raise ConfigError(f'{where}: the name "{shown(text, 80)}" has no token in this model\'s vocabulary')
        known |= texts


def _digest(start: PictureAdapter) -> str:
    layers = (part for each in start.layers for part in (each.to_k, each.to_v, each.text_to_weight))
    return weights_digest([*start.projection.values(), *(part for part in layers if part is not None)])
