"""On-disk state of training runs, keyed by a digest of their inputs, so that a re-queue resumes or reuses a run even
after a restart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import folder_paths
import torch
from torch import Tensor

from ...cones2.concepts.fingerprint import encoder_fingerprint
from ...cones2.errors import Cones2Error
from ...cones2.messages import shown
from ...cones2.storage.tensors import read_metadata
from ...cones2.training.class_pictures import remove_pictures
from ...cones2.training.config import TrainingConfig
from ...cones2.training.history import CsvLog, Record, read_log
from ...cones2.training.views import Photo
from .training_model import prediction_of

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

log = logging.getLogger(__name__)

RUNS = "cones2_training"
"""Folder inside the output folder: checkpoints of stopped runs, results and logs of finished ones."""

RUN_KEY = "run"
"""Key of a result's metadata that names its run."""


class Learned(Protocol):
    """What a training ends with: a residual or a delta."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Facts that its file holds."""
        ...


Result = TypeVar("Result", bound=Learned)


@dataclass(frozen=True)
class ResultFiles(Generic[Result]):
    """How results of one kind are read and written: `save(result, path, overwrite)` → the path."""

    load: Callable[[Path], Result]
    save: Callable[[Result, Path, bool], Path]


@dataclass(frozen=True)
class Run(Generic[Result]):
    """The files of one training run.

    key: digest of its inputs. files: of its result. networks: digest of model, text encoder and VAE alone.
    """

    key: str
    files: ResultFiles[Result]
    networks: str

    @property
    def checkpoint(self) -> Path:
        """State of an unfinished run."""
        return self._path(".checkpoint.pt")

    @property
    def class_pictures(self) -> Path:
        """Folder of the pictures that the model made for the scenes of an unfinished run."""
        return self._path("_class_pictures")

    @property
    def kept_pictures(self) -> Path:
        """Folder of the pictures that these networks made of a class; it stays, for runs with other numbers."""
        return Path(folder_paths.get_output_directory()) / RUNS / f"{self.networks}_class_pictures"

    def finished(self) -> tuple[Result, Sequence[Record]] | None:
        """What the run ended with, or None when it has not ended or its files are unreadable."""
        try:
            result, history = self.files.load(self._path(".safetensors")), read_log(self._path(".csv"))
        except (Cones2Error, OSError, ValueError):
            return None
        return (result, history) if history else None

    def finish(self, result: Result, history: Sequence[Record]) -> None:
        """Keep the result for a re-queue; the checkpoint is no longer needed.

        What cannot be written is a warning: the graph goes on with the result, and saves it elsewhere.
        """
        try:
            self.files.save(result, self._path(".safetensors"), True)
            CsvLog(self._path(".csv"), history).close()
        except (Cones2Error, OSError) as error:
            log.warning("this training cannot be kept for the next run of the same inputs: %s", shown(error))
            return
        self.checkpoint.unlink(missing_ok=True)
        remove_pictures(self.class_pictures)

    def keep_partial(self, result: Result) -> Path:
        """Save the result of a run that cannot go on."""
        return self.files.save(result, self._path(".partial.safetensors"), True)

    def save_once(self, result: Result, path: Path) -> Path:
        """Save under the first free name, rex, rex_2, rex_3 …, unless one of the files before it is this very run's."""
        number, free = 2, path
        while free.exists():
            if _run_of(free) == result.metadata[RUN_KEY]:
                return free
            free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
        return self.files.save(result, free, False)

    def _path(self, ending: str) -> Path:
        return Path(folder_paths.get_output_directory()) / RUNS / f"{self.key}{ending}"


def _run_of(path: Path) -> str:
    """The run that a file is of, by its header alone: a delta of SDXL has more than a gigabyte."""
    try:
        return read_metadata(path).get(RUN_KEY, "")
    except Cones2Error:
        return ""


def find_run(
    files: ResultFiles[Result],
    config: TrainingConfig,
    settings: Any,
    photos: Sequence[Photo],
    model: ModelPatcher,
    clip: CLIP,
    vae: VAE,
) -> Run[Result]:
    """The run of these inputs: settings, photos and masks, all weights with their patches, what the UNet predicts.

    settings: a dataclass of what decides a run beside its numbers.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((sorted(config.own_numbers().items()), asdict(settings), prediction_of(model))).encode())
    for photo in photos:
        digest.update(repr(photo.picture.size).encode() + photo.picture.tobytes())
        digest.update(photo.mask.tobytes() if photo.mask else b"no mask")
        digest.update(photo.opacity.tobytes() if photo.opacity else b"")
    networks = b"".join(_networks(model, clip, vae))
    digest.update(networks)
    alone = f"{prediction_of(model)} ".encode() + networks
    return Run(digest.hexdigest(), files, hashlib.blake2b(alone, digest_size=8).hexdigest())


def _networks(model: ModelPatcher, clip: CLIP, vae: VAE) -> list[bytes]:
    """What tells the three apart, with their patches."""
    # identify the encoder by its output: some of its weights are never loaded and hold uninitialised memory
    conditioning = clip.encode_from_tokens(clip.tokenize(""), return_pooled=True)[0]
    # the start token attends to itself alone, so a patch of the queries and keys does not change its output
    facts = [encoder_fingerprint(conditioning), repr(_sample(clip.patcher.patches))]
    parts = (*_weights(model), *_weights(vae.patcher), model.get_model_object("model_sampling").sigmas[::99])
    facts += [repr(_sample(part)) for part in parts]
    return [fact.encode() for fact in (*facts, repr(_sample(model.patches)))]


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
