"""One run of `cones2 train --method custom-diffusion`: from options to a delta on the disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from PIL import Image

from ..custom_diffusion.delta import Delta
from ..custom_diffusion.files import save_delta
from ..diffusers_models.deltas import DeltaUse, with_deltas
from ..diffusers_models.for_delta_training import delta_training_model, start_rows
from ..diffusers_models.latent_model import DiffusersModel, to_images
from ..errors import ConfigError, DeltaError
from ..sampling.settings import SamplingSettings
from ..scene import compose
from ..storage.files import check_folder, remove, shown_path
from ..training.class_photos import make_class_photos
from ..training.class_pictures import remove_pictures
from ..training.concepts import START_PIECES, ConceptPaths, TrainingConcept, load_concept, read_concepts_list
from ..training.delta_session import DeltaRun, check_before_pictures, prepare_delta_run
from ..training.history import Record
from ..training.loop import TrainingResult
from ..training.model import TrainingModel
from ..training.run_files import RunFiles
from .delta_train_flags import DeltaOptions
from .processes import Processes, start_processes
from .run_log import RunLog
from .train_options import TrainOptions
from .training_run import Models, how_to_continue, run_until_interrupted, with_precision

_PREVIEW_STEPS = 20
_LARGEST_DEFAULT = 1024  # side of training pictures in pixels, of all families


def train_delta(
    options: DeltaOptions, start: Callable[[str | None], Processes] = start_processes, models: Models | None = None
) -> int:
    """Train as the options say; the delta, CSV file, loss curve and previews go to their folder: the exit status.

    An interrupt leaves a checkpoint and the delta so far as NAME.partial.safetensors. Raises Cones2Error for whatever
    is wrong before the first update.
    """
    run, files = options.run, RunFiles(options.run.out, options.run.name)
    if files.residual.exists() and not run.overwrite:
        path = shown_path(files.residual)
        raise ConfigError(f"{path} exists already: choose another --name or --out, or give --overwrite")
    concepts = _concepts(options)
    processes = start(run.device)
    if processes.is_main:
        check_folder(run.out)
    run = with_precision(run, processes.device)
    model = (models or Models()).get(run, processes.device, run.config.precision)
    prepared = _prepare(replace(options, run=run), model, concepts, files, processes)
    if not processes.is_main:
        return 0 if _train(run, model, prepared, None).reason == "finished" else 1
    if prepared.trainer.step:
        processes.say(f"{files.name}: continues after step {prepared.trainer.step} of {prepared.trainer.config.steps}")
    log = RunLog(files, prepared.trainer, run.tensorboard)
    try:
        result = _train(run, model, prepared, log)
        per_block = int(model.unet.config.layers_per_block)
        delta = prepared.result(result, run.model.resolve().name, per_block)
        status, message = _keep(files, result, delta, run.overwrite)
    finally:
        log.close()
    processes.say(message)
    return status


def _concepts(options: DeltaOptions) -> list[TrainingConcept]:
    side = options.run.resolution or _LARGEST_DEFAULT  # before the model is there, which takes longer to load
    if options.concepts_list is not None:
        return [load_concept(paths, options.run.masks, side) for paths in read_concepts_list(options.concepts_list)]
    paths = ConceptPaths(options.prompt, options.class_prompt, options.run.images, options.class_images)
    return [load_concept(paths, options.run.masks, side)]


def _prepare(
    options: DeltaOptions,
    model: DiffusersModel,
    concepts: list[TrainingConcept],
    files: RunFiles,
    processes: Processes,
) -> DeltaRun:
    """The run, continued from its checkpoint where there is one."""
    run, config = options.run, options.run.config
    if run.preview_every and model.is_xl:
        raise ConfigError("--preview-every: previews are drawn with SD 1.x and SD 2.x models only; leave it out")
    if run.restart:
        remove(files.checkpoint)
        remove_pictures(files.class_pictures)
    names = config.token_names
    rows = start_rows(model.text, names, options.starts or START_PIECES) if names else []
    networks = delta_training_model(model, names, rows, config.attention, run.gradient_checkpointing)
    size = run.resolution or model.default_size
    if options.class_pictures and not any(concept.class_photos for concept in concepts):
        check_before_pictures(concepts, config, size, networks)
    concepts = [_with_class_photos(options, networks, each, size, files, processes) for each in concepts]
    return prepare_delta_run(networks, concepts, config, size, run.flip, files.checkpoint, processes.parallel)


def _with_class_photos(
    options: DeltaOptions,
    networks: TrainingModel,
    concept: TrainingConcept,
    size: int,
    files: RunFiles,
    processes: Processes,
) -> TrainingConcept:
    """The concept with pictures of its class that the model makes, where nobody gave some."""
    if concept.class_photos or not options.class_pictures:
        return concept

    def on_picture(made: int, count: int) -> None:
        if processes.is_main and made % 10 == 0:
            processes.say(f"{files.name}: picture {made + 1} of {count} of a {concept.class_prompt}")

    count, seed = options.class_pictures, options.run.config.seed
    pictures = make_class_photos(networks, concept.class_prompt, count, size, seed, files.class_pictures, on_picture)
    return replace(concept, class_photos=pictures)


def _train(run: TrainOptions, model: DiffusersModel, prepared: DeltaRun, log: RunLog | None) -> TrainingResult:
    def on_step(record: Record) -> None:
        if log is None:
            return
        log.add(record)
        step = int(record["step"])
        if run.preview_every and step % run.preview_every == 0:
            log.add_preview(step, _preview(run, model, prepared))

    return run_until_interrupted(prepared.trainer, on_step, "or give --gradient-checkpointing")


def _preview(run: TrainOptions, model: DiffusersModel, prepared: DeltaRun) -> Image.Image:
    """A picture of the first concept as learned so far, always from the same noise."""
    trained = with_deltas(model, [DeltaUse(prepared.method.delta())])
    scene = compose(trained, run.preview_prompt or prepared.concepts[0].prompt)
    side = run.resolution or model.default_size
    settings = SamplingSettings(steps=_PREVIEW_STEPS, seeds=(run.config.seed,), height=side, width=side)
    return to_images(trained.decode(trained.sample(scene, settings)))[0]


def _keep(files: RunFiles, result: TrainingResult, delta: Delta, overwrite: bool) -> tuple[int, str]:
    """Save the delta, whatever ended the run: the exit status and what happened."""
    if result.reason == "finished":
        path = save_delta(delta, files.residual, overwrite)
        with suppress(OSError):
            files.checkpoint.unlink(missing_ok=True)
            files.partial.unlink(missing_ok=True)
            remove_pictures(files.class_pictures)
        return 0, f"{shown_path(path)} (finished after {result.steps} steps)"
    try:
        kept = f"{shown_path(save_delta(delta, files.partial, overwrite=True))} is the delta so far"
    except DeltaError as error:
        kept = f"the delta so far is lost: {error}"
    if result.reason == "diverged":
        return 1, f"error: the loss or its gradient is NaN or infinite at step {result.steps + 1}; {kept}"
    return 130, f"interrupted after step {result.steps}; {kept}; {how_to_continue(files)}"
