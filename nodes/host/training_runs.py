"""On-disk state of training runs, keyed by a digest of their inputs, so that a re-queue resumes or reuses a run even
after a restart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
import torch
from torch import Tensor

from ...cones2.concepts.fingerprint import encoder_fingerprint
from ...cones2.concepts.residual import Residual
from ...cones2.concepts.residual_file import load_residual, save_residual
from ...cones2.errors import Cones2Error, ResidualError
from ...cones2.messages import shown
from ...cones2.training.class_pictures import remove_pictures
from ...cones2.training.config import TrainingConfig
from ...cones2.training.history import CsvLog, Record, read_log
from ...cones2.training.views import Photo, ViewSettings
from .training_model import prediction_of

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

log = logging.getLogger(__name__)

RUNS = "cones2_training"
"""Folder inside the output folder: checkpoints of stopped runs, residuals and logs of finished ones."""

RUN_KEY = "run"
"""Key of a residual's metadata that names its run."""


@dataclass(frozen=True)
class Run:
    """The files of one training run.

    key: digest of its inputs.
    """

    key: str

    @property
    def checkpoint(self) -> Path:
        """State of an unfinished run."""
        return self._path(".checkpoint.pt")

    @property
    def class_pictures(self) -> Path:
        """Folder of the pictures that the model made for the scenes of an unfinished run."""
        return self._path("_class_pictures")

    def finished(self) -> tuple[Residual, Sequence[Record]] | None:
        """What the run ended with, or None when it has not ended or its files are unreadable."""
        try:
            residual, history = load_residual(self._path(".safetensors")), read_log(self._path(".csv"))
        except (ResidualError, OSError, ValueError):
            return None
        return (residual, history) if history else None

    def finish(self, residual: Residual, history: Sequence[Record]) -> None:
        """Keep the result for a re-queue; the checkpoint is no longer needed.

        What cannot be written is a warning: the graph goes on with the residual, and saves it elsewhere.
        """
        try:
            save_residual(residual, self._path(".safetensors"), overwrite=True)
            CsvLog(self._path(".csv"), history).close()
        except (Cones2Error, OSError) as error:
            log.warning("this training cannot be kept for the next run of the same inputs: %s", shown(error))
            return
        self.checkpoint.unlink(missing_ok=True)
        remove_pictures(self.class_pictures)

    def keep_partial(self, residual: Residual) -> Path:
        """Save the residual of a run that cannot go on."""
        return save_residual(residual, self._path(".partial.safetensors"), overwrite=True)

    def _path(self, ending: str) -> Path:
        return Path(folder_paths.get_output_directory()) / RUNS / f"{self.key}{ending}"


def find_run(
    config: TrainingConfig, views: ViewSettings, photos: Sequence[Photo], model: ModelPatcher, clip: CLIP, vae: VAE
) -> Run:
    """The run of these inputs: settings, photos and masks, all weights with their patches, what the UNet predicts."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((sorted(config.numbers().items()), asdict(views), prediction_of(model))).encode())
    for photo in photos:
        digest.update(repr(photo.picture.size).encode() + photo.picture.tobytes())
        digest.update(photo.mask.tobytes() if photo.mask else b"no mask")
        digest.update(photo.opacity.tobytes() if photo.opacity else b"")
    # identify the encoder by its output: some of its weights are never loaded and hold uninitialised memory
    conditioning = clip.encode_from_tokens(clip.tokenize(""), return_pooled=True)[0]
    digest.update(encoder_fingerprint(conditioning).encode())
    # the start token attends to itself alone, so a patch of the queries and keys does not change its output
    digest.update(repr(_sample(clip.patcher.patches)).encode())
    for part in (*_weights(model), *_weights(vae.patcher), model.get_model_object("model_sampling").sigmas[::99]):
        digest.update(repr(_sample(part)).encode())
    digest.update(repr(_sample(model.patches)).encode())
    return Run(digest.hexdigest())


def save_once(residual: Residual, path: Path) -> Path:
    """Save under the first free name, rex, rex_2, rex_3 …, unless one of the files before it is this very run's."""
    number, free = 2, path
    while free.exists():
        if _run_of(free) == residual.metadata[RUN_KEY]:
            return free
        free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return save_residual(residual, free)


def _run_of(path: Path) -> str:
    try:
        return load_residual(path).metadata.get(RUN_KEY, "")
    except ResidualError:
        return ""


def _weights(patcher: ModelPatcher) -> Iterator[Tensor]:
    """A model's own weights, also while patches are worked into them."""
    for name, weight in patcher.model.named_parameters():
        yield patcher.backup[name].weight if name in patcher.backup else weight


def _sample(value: Any) -> Any:
    """A few numbers of every tensor in a value, in a form whose repr is the same in every process."""
    if isinstance(value, Tensor):
        start = value.detach().flatten()[:4] if value.device.type != "meta" else torch.empty(0)
        return tuple(value.shape), start.float().tolist()
    if isinstance(value, Mapping):
        return sorted((str(key), _sample(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [_sample(item) for item in value]
    if hasattr(value, "weights"):  # the host's weight adapters, such as LoRA
        return type(value).__name__, _sample(value.weights)
    return value if isinstance(value, str | int | float | None) else type(value).__name__
