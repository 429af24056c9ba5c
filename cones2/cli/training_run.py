"""One run of `cones2 train`: from options to a residual on the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from ..concepts.residual import Residual, make_residual
from ..concepts.residual_file import save_residual
from ..diffusers_models.for_training import training_model
from ..diffusers_models.latent_model import DiffusersModel, to_images
from ..diffusers_models.loading import load_model
from ..errors import ConfigError, ModelError, ResidualError
from ..messages import shown
from ..prompt.claims import locate_subjects, parse_phrase
from ..sampling.settings import SamplingSettings
from ..scene import compose
from ..storage.files import check_folder, remove, shown_path
from ..training.class_pictures import OnPicture, remove_pictures
from ..training.config import Precision
from ..training.history import Record
from ..training.loop import Trainer, TrainingResult
from ..training.run_files import RunFiles
from ..training.session import prepare_run, result_residual
from ..training.views import Photo, ViewSettings, load_photos
from .devices import is_out_of_memory
from .processes import Processes, start_processes
from .run_log import RunLog
from .train_options import TrainOptions

_PREVIEW_STEPS = 20


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    status: exit status.
    state: one word for the table of `train-all`.
    message: one sentence for the user.
    path: the residual, if one was saved.
    result: what training gave.
    """

    status: int
    state: str
    message: str = ""
    path: Path | None = None
    result: TrainingResult | None = None


@dataclass
class Models:
    """The model of the last run, kept for the next one when it needs the same."""

    key: tuple[Any, ...] = ()
    model: DiffusersModel | None = field(default=None, repr=False)

    def get(self, options: TrainOptions, device: torch.device, precision: str) -> DiffusersModel:
        """The model that the options name."""
        checkpointing = options.gradient_checkpointing  # switched on in the model itself
        key = (options.model, options.tokenizer, device, precision, options.prediction_type, checkpointing)
        if self.model is None or key != self.key:
            self.model = None  # free the old one first
            dtype = getattr(torch, precision)
            self.model = load_model(options.model, options.tokenizer, device, dtype, options.prediction_type)
            self.key = key
        return self.model


def train_one(
    options: TrainOptions, models: Models, start: Callable[[str | None], Processes] = start_processes
) -> Outcome:
    """Train as the options say; the residual, CSV file, loss curve and previews go to their folder.

    start: which processes train, given the device.

    An interrupt leaves a checkpoint and the residual so far as NAME.partial.safetensors.
    Raises Cones2Error for whatever is wrong before the first update.
    """
    files = RunFiles(options.out, options.name)
    if os.path.exists(files.residual) and not options.overwrite:
        path = shown_path(files.residual)
        raise ConfigError(f"{path} exists already: choose another --name or --out, or give --overwrite")
    photos = _photos(options)
    processes = start(options.device)
    if processes.is_main:
        check_folder(options.out)
    options = with_precision(options, processes.device)
    model = models.get(options, processes.device, options.config.precision)
    trainer, resolution = _prepare(options, model, photos, files, processes)
    if not processes.is_main:
        reason = _run(options, model, trainer, None).reason
        return Outcome(0 if reason in ("finished", "converged") else 1, reason)
    if trainer.step:
        processes.say(f"{shown(files.name)}: continues after step {trainer.step} of {trainer.config.steps}")
    log = RunLog(files, trainer, options.tensorboard)
    try:
        result = _run(options, model, trainer, log)
        facts = {"resolution": str(resolution)}
        residual = result_residual(trainer, result, photos, options.model.resolve().name, facts)
        outcome = _keep(files, result, residual, options.overwrite)  # before anything else that fills the disk
    finally:
        log.close()
    processes.say(outcome.message)
    return outcome


def _photos(options: TrainOptions) -> list[Photo]:
    try:
        return load_photos(options.images, options.masks)
    except OSError as error:  # a name longer than the file system allows, or a folder of somebody else
        folder = shown_path(error.filename or options.images)
        raise ConfigError(f"{folder} cannot be read: {error.strerror}") from error


def with_precision(options: TrainOptions, device: torch.device) -> TrainOptions:
    """The options with the number format that the device usually has, unless they name one."""
    usual: Precision = "float16" if device.type == "cuda" else "float32"
    return replace(options, config=replace(options.config, precision=options.precision or usual))


def _prepare(
    options: TrainOptions, model: DiffusersModel, photos: list[Photo], files: RunFiles, processes: Processes
) -> tuple[Trainer, int]:
    """The run, continued from its checkpoint where there is one, and the resolution it trains at."""
    if options.preview_every:
        _check_preview(options, model)
    config = options.config
    networks = training_model(model, config.method, options.gradient_checkpointing)
    resolution = options.resolution or model.default_size
    views = ViewSettings(resolution, options.buckets, options.crops, options.flip, networks.size_multiple, config.seed)
    if options.restart:
        remove(files.checkpoint)
        remove_pictures(files.class_pictures)
    with picture_bar(files, processes, "class pictures") as on_picture:
        trainer = prepare_run(
            networks, photos, views, config, files.checkpoint, processes.parallel, files.class_pictures, on_picture
        )
    # what training no longer needs leaves the GPU; previews bring it back by themselves
    model.vae.to("cpu")
    if config.method == "direct":
        model.text.encoders.to("cpu")
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
    return trainer, resolution


@contextmanager
def picture_bar(files: RunFiles, processes: Processes, what: str) -> Iterator[OnPicture]:
    """A progress bar of pictures that are made or checked, once the first one is."""
    with ExitStack() as bars:
        bar: list[Any] = []

        def on_picture(made: int, count: int) -> None:
            if not processes.is_main:
                return
            if not bar:
                title = f"{shown(files.name)}: {what}"
                bar.append(bars.enter_context(tqdm(total=count, desc=title, unit="picture", leave=False)))
            bar[0].update(made - bar[0].n)

        yield on_picture


def _run(options: TrainOptions, model: DiffusersModel, trainer: Trainer, log: RunLog | None) -> TrainingResult:
    def on_step(record: Record) -> None:
        if log is None:
            return
        log.add(record)
        step = int(record["step"])
        if options.preview_every and step % options.preview_every == 0:
            log.add_preview(step, _preview(options, model, trainer))

    return run_until_interrupted(trainer, on_step, "give --gradient-checkpointing, or use --method direct")


def run_until_interrupted(trainer: Trainer, on_step: Callable[[Record], None], remedy: str) -> TrainingResult:
    """The run, which Ctrl-C and SIGTERM end after a step. Raises ModelError with the remedy when memory runs out."""
    with interrupts() as received:
        try:
            return trainer.run(on_step, lambda: bool(received))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"out of memory at step {trainer.step + 1}: lower --resolution or --batch-size, {remedy}"
            ) from error


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM; a second Ctrl-C stops at once."""
    received: list[int] = []

    def receive(number: int, _: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _preview_prompt(options: TrainOptions) -> str:
    return options.preview_prompt or f"a photo of a {options.config.subject}"


def _check_preview(options: TrainOptions, model: DiffusersModel) -> None:
    """Raise Cones2Error for a preview that could not be sampled: found in the middle, it would end the training."""
    if model.is_xl:
        raise ConfigError("--preview-every: previews are drawn with SD 1.x and SD 2.x models only; leave it out")
    tokens = model.text.prompt_tokens(_preview_prompt(options))
    locate_subjects(tokens, [parse_phrase(options.config.subject)], model.tokenize)


def _preview(options: TrainOptions, model: DiffusersModel, trainer: Trainer) -> Image.Image:
    """A picture of the subject as learned so far, always from the same noise."""
    subject = options.config.subject
    model.vae.to(model.device)
    residual = make_residual(subject, trainer.method.residual())
    scene = compose(model, _preview_prompt(options), [residual])
    side = model.default_size
    settings = SamplingSettings(steps=_PREVIEW_STEPS, seeds=(options.config.seed,), height=side, width=side)
    latents = model.sample(scene, settings)
    return to_images(model.decode(latents))[0]


def _keep(files: RunFiles, result: TrainingResult, residual: Residual, overwrite: bool) -> Outcome:
    """Save the residual, whatever ended the run, and say what happened."""
    if result.reason in ("finished", "converged"):
        return _keep_finished(files, result, residual, overwrite)
    path, kept = _save_partial(files, residual)
    if result.reason == "diverged":
        message = f"error: the loss or its gradient is NaN or infinite at step {result.steps + 1}; {kept}"
        return Outcome(1, "diverged", message, path, result)
    message = f"interrupted after step {result.steps}; {kept}; {how_to_continue(files)}"
    return Outcome(130, "interrupted", message, path, result)


def _keep_finished(files: RunFiles, result: TrainingResult, residual: Residual, overwrite: bool) -> Outcome:
    try:
        path = save_residual(residual, files.residual, overwrite)
    except ResidualError as error:
        partial, kept = _save_partial(files, residual)
        message = f"error: {error}; {kept}" + ("" if partial else f"; {how_to_continue(files)}")
        return Outcome(1, "failed", message, partial, result)
    with suppress(OSError):
        files.checkpoint.unlink(missing_ok=True)
        files.partial.unlink(missing_ok=True)
        remove_pictures(files.class_pictures)
    held_out = "" if result.held_out is None else f", held-out error {result.held_out:.5f}"
    message = f"{shown_path(path)} ({result.reason} after {result.steps} steps{held_out})"
    return Outcome(0, result.reason, message, path, result)


def _save_partial(files: RunFiles, residual: Residual) -> tuple[Path | None, str]:
    """Where the residual so far is, and a clause that says so."""
    try:
        path = save_residual(residual, files.partial, overwrite=True)
    except ResidualError as error:
        return None, f"the residual so far is lost: {error}"
    return path, f"{shown_path(path)} is the residual so far"


def how_to_continue(files: RunFiles) -> str:
    """A clause that says how an interrupted run goes on."""
    return "the same command continues" if files.checkpoint.exists() else "there is no checkpoint to continue from"
