"""One run of `cones2 train --method mip-adapter`: from labeled pictures to an image adapter on the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from ..diffusers_models.for_adapter_training import check_start, image_reader, networks_digest, new_adapter
from ..diffusers_models.for_training import training_model
from ..diffusers_models.image_encoder import load_image_encoder
from ..diffusers_models.latent_model import DiffusersModel
from ..errors import AdapterError, ConfigError
from ..picture_adapter.adapter import PictureAdapter
from ..picture_adapter.adapter_file import load_adapter, save_adapter
from ..storage.files import check_folder, remove, shown_path
from ..training.adapter_data import LabeledPicture, read_labeled_pictures
from ..training.adapter_session import AdapterRun, prepare_adapter_run
from ..training.history import Record
from ..training.loop import TrainingResult
from ..training.run_files import RunFiles
from .adapter_train_flags import AdapterTrainOptions
from .processes import Processes, start_processes
from .run_log import RunLog
from .training_run import Models, how_to_continue, picture_bar, run_until_interrupted, with_precision


def train_adapter(
    options: AdapterTrainOptions,
    start: Callable[[str | None], Processes] = start_processes,
    models: Models | None = None,
) -> int:
    """Train as the options say; the adapter, CSV file and loss curve go to their folder: the exit status.

    An interrupt leaves a checkpoint and the adapter so far as NAME.partial.safetensors. Raises Cones2Error for whatever
    is wrong before the first update.
    """
    run, files = options.run, RunFiles(options.run.out, options.run.name)
    if files.residual.exists() and not run.overwrite:
        path = shown_path(files.residual)
        raise ConfigError(f"{path} exists already: choose another --name or --out, or give --overwrite")
    pictures = read_labeled_pictures(run.images)
    begun = None if options.start is None else load_adapter(options.start)
    processes = start(run.device)
    if processes.is_main:
        check_folder(run.out)
    run = with_precision(run, processes.device)
    model = (models or Models()).get(run, processes.device, run.config.precision)
    prepared = _prepare(replace(options, run=run), model, begun, pictures, files, processes)
    trainer = prepared.trainer
    if not processes.is_main:
        return 0 if run_until_interrupted(trainer, _ignore, _REMEDY).reason == "finished" else 1
    if trainer.step:
        processes.say(f"{files.name}: continues after step {trainer.step} of {trainer.config.steps}")
    log = RunLog(files, trainer, run.tensorboard)
    try:
        result = run_until_interrupted(trainer, log.add, _REMEDY)
        adapter, facts = prepared.result(result, run.model.resolve().name)
        status, message = _keep(files, result, adapter, facts, run.overwrite)
    finally:
        log.close()
    processes.say(message)
    return status


_REMEDY = "or give --gradient-checkpointing"


def _ignore(record: Record) -> None:
    """Only the main process keeps records."""


def _prepare(
    options: AdapterTrainOptions,
    model: DiffusersModel,
    begun: PictureAdapter | None,
    pictures: Sequence[LabeledPicture],
    files: RunFiles,
    processes: Processes,
) -> AdapterRun:
    """The run, continued from its checkpoint where there is one."""
    run = options.run
    encoder = load_image_encoder(options.image_encoder, processes.device)
    if begun is None:
        begun = new_adapter(model, encoder, options.tokens, run.config.seed)
    check_start(model, begun)
    reader = image_reader(encoder, begun)
    if run.restart:
        remove(files.checkpoint)
    networks = training_model(model, "mip-adapter", run.gradient_checkpointing)
    size = run.resolution or model.default_size
    digest = networks_digest(model, encoder)
    with picture_bar(files, processes, "checking pictures") as on_checked:
        return prepare_adapter_run(
            networks,
            reader,
            begun,
            pictures,
            run.config,
            size,
            files.checkpoint,
            processes.parallel,
            digest,
            on_checked,
        )


def _keep(
    files: RunFiles, result: TrainingResult, adapter: PictureAdapter, facts: dict[str, str], overwrite: bool
) -> tuple[int, str]:
    """Save the adapter, whatever ended the run: the exit status and what happened."""
    if result.reason == "finished":
        path = save_adapter(adapter, files.residual, facts, overwrite)
        with suppress(OSError):
            files.checkpoint.unlink(missing_ok=True)
            files.partial.unlink(missing_ok=True)
        return 0, f"{shown_path(path)} (finished after {result.steps} steps)"
    try:
        kept = f"{shown_path(save_adapter(adapter, files.partial, facts, overwrite=True))} is the adapter so far"
    except AdapterError as error:
        kept = f"the adapter so far is lost: {error}"
    if result.reason == "diverged":
        return 1, f"error: the loss or its gradient is NaN or infinite at step {result.steps + 1}; {kept}"
    return 130, f"interrupted after step {result.steps}; {kept}; {how_to_continue(files)}"
