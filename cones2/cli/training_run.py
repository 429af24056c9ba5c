"""One run of `cones2 train`: files in and out around the training engine."""

from __future__ import annotations

import argparse
import logging
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from ..concepts.residual import Residual, make_residual
from ..concepts.residual_file import save_residual
from ..diffusers_models.for_training import training_model
from ..diffusers_models.latent_model import SamplingSettings, StableDiffusion, to_images
from ..diffusers_models.loading import load_model_to_train
from ..diffusers_models.sdxl import StableDiffusionXL
from ..errors import ConfigError, ModelError
from ..prompt.tokens import find_phrase
from ..scene import compose
from ..storage.files import write_atomically
from ..storage.png import write_png
from ..training.config import TrainingConfig, default_config
from ..training.history import CsvLog, loss_curve
from ..training.loop import Record, Trainer, TrainingResult
from ..training.session import prepare_run, result_residual
from ..training.views import ViewSettings, load_photos
from .processes import Processes, start_processes

log = logging.getLogger(__name__)

_PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}
_PREVIEW_STEPS = 20


@dataclass(frozen=True)
class Outcome:
    """How a run ended. status: exit status. state: one word for the table. path: the residual, if any."""

    status: int
    state: str
    path: Path | None = None
    result: TrainingResult | None = None


@dataclass
class Models:
    """The model of the last run, kept for the next one when it needs the same."""

    key: tuple[Any, ...] = ()
    model: StableDiffusion | None = field(default=None, repr=False)

    def get(self, args: argparse.Namespace, device: torch.device, precision: str) -> StableDiffusion:
        """The model that the flags name."""
        key = (args.model, args.tokenizer, device, precision, args.prediction_type, args.gradient_checkpointing)
        if self.model is None or key != self.key:
            self.model = None  # free the old one first
            dtype = getattr(torch, precision)
            self.model = load_model_to_train(args.model, args.tokenizer, device, dtype, args.prediction_type)
            self.key = key
        return self.model


def train_one(args: argparse.Namespace, models: Models) -> Outcome:
    """Train as the flags say; the residual, CSV, loss curve and previews go to `args.out`.

    An interrupt leaves a checkpoint and the residual so far as NAME.partial.safetensors.
    """
    files = _Files(args.out, args.name or re.sub(r"\W+", "_", args.subject.strip()).strip("_") or "subject")
    if files.residual.exists() and not args.overwrite:
        raise ConfigError(f"{files.residual} exists already: choose another --name or --out, or give --overwrite")
    photos = load_photos(args.images, args.masks)
    processes = start_processes(args.device)
    precision = _precision(args, processes.device)
    config = _config(args, precision)
    model = models.get(args, processes.device, precision)
    if args.preview_every and isinstance(model, StableDiffusionXL):
        raise ConfigError("--preview-every: the command line does not sample SDXL models; leave it out")
    trained = training_model(model, config.method, args.gradient_checkpointing)
    views = _view_settings(args, model, trained.multiple, config.seed)
    if args.restart:
        files.checkpoint.unlink(missing_ok=True)
    trainer = prepare_run(trained, photos, views, config, files.checkpoint, processes.parallel)
    if trainer.step:
        print(f"{files.name}: continues after step {trainer.step} of {config.steps}")
    _unload(model, config)
    result = _run(args, config, model, trainer, files, processes)
    if not processes.is_main:
        return Outcome(0 if result.reason in ("finished", "converged") else 1, result.reason)
    facts = {"resolution": str(views.resolution)}
    residual = result_residual(trainer, result, len(photos), args.model.resolve().name, facts)
    return _keep(files, result, residual, args.overwrite)


@dataclass(frozen=True)
class _Files:
    folder: Path
    name: str

    @property
    def residual(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def partial(self) -> Path:
        return self.folder / f"{self.name}.partial.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.checkpoint.pt"

    @property
    def table(self) -> Path:
        return self.folder / f"{self.name}.csv"

    @property
    def curve(self) -> Path:
        return self.folder / f"{self.name}_loss.png"

    def preview(self, step: int) -> Path:
        return self.folder / f"{self.name}_preview_{step:06d}.png"


def _config(args: argparse.Namespace, precision: str) -> TrainingConfig:
    known = {item.name for item in fields(TrainingConfig)}
    given = {name: value for name, value in vars(args).items() if name in known and value is not None}
    subject, method = given.pop("subject"), given.pop("method")
    return default_config(method, subject, **given, precision=precision)


def _precision(args: argparse.Namespace, device: torch.device) -> str:
    if args.dtype is None:
        return "float16" if device.type == "cuda" else "float32"
    return str(_PRECISIONS.get(args.dtype, args.dtype))


def _view_settings(args: argparse.Namespace, model: StableDiffusion, multiple: int, seed: int) -> ViewSettings:
    resolution = args.resolution or model.default_size
    crops = 1 if args.center_crop else args.crops
    return ViewSettings(resolution, args.buckets, crops, args.flip, multiple, seed)


def _unload(model: StableDiffusion, config: TrainingConfig) -> None:
    """Move what training no longer needs off the GPU; previews bring it back by themselves."""
    model.vae.to("cpu")
    if config.method == "direct":
        model.text_encoder.to("cpu")
    if model.device.type == "cuda":
        torch.cuda.empty_cache()


def _run(
    args: argparse.Namespace,
    config: TrainingConfig,
    model: StableDiffusion,
    trainer: Trainer,
    files: _Files,
    processes: Processes,
) -> TrainingResult:
    with _interrupts() as stop, _logs(args, config, trainer, files, processes) as add:

        def on_step(record: Record) -> None:
            add(record)
            step = int(record["step"])
            if processes.is_main and args.preview_every and step % args.preview_every == 0:
                picture = _preview(args, config, model, trainer)
                _write_picture(files.preview(step), picture, {"step": step, "subject": config.subject})

        try:
            return trainer.run(on_step, lambda: bool(stop))
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"out of memory at step {trainer.step + 1}: lower --resolution or --batch-size, "
                "give --gradient-checkpointing, or use --method direct"
            ) from error


@contextmanager
def _interrupts() -> Iterator[list[int]]:
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


@contextmanager
def _logs(
    args: argparse.Namespace, config: TrainingConfig, trainer: Trainer, files: _Files, processes: Processes
) -> Iterator[Any]:
    """A function that records a step in the bar, the CSV file and TensorBoard; draws the curve at the end."""
    if not processes.is_main:
        yield lambda record: None
        return
    table = CsvLog(files.table, trainer.history)
    board = _tensorboard(files) if args.tensorboard else None
    bar = tqdm(total=config.steps, initial=trainer.step, desc=files.name, unit="step")

    def add(record: Record) -> None:
        table.add(record)
        bar.update()
        bar.set_postfix({"loss": f"{record['loss']:.4f}"} | _shown(trainer.history))
        if board is not None:
            for name, value in record.items():
                board.add_scalar(name, value, int(record["step"]))

    try:
        yield add
    finally:
        bar.close()
        table.close()
        if board:
            board.close()
        if trainer.history:
            _write_picture(files.curve, loss_curve(trainer.history, f"{config.subject}, {config.method}"), {})


def _shown(history: Any) -> dict[str, str]:
    judged = [record["held_out"] for record in history if "held_out" in record]
    return {"held-out": f"{judged[-1]:.4f}"} if judged else {}


def _tensorboard(files: _Files) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(str(files.folder / f"{files.name}_tensorboard"))


def _preview(args: argparse.Namespace, config: TrainingConfig, model: StableDiffusion, trainer: Trainer) -> Image.Image:
    """A picture of the subject as learned so far, always from the same noise."""
    model.vae.to(model.device)
    prompt = args.preview_prompt or f"a photo of a {config.subject}"
    encoded, unprompted = model.encode_prompts(prompt, "")
    residual = make_residual(config.subject, trainer.method.residual())
    rows = find_phrase(encoded.tokens, config.subject, model.tokenize)
    scene = compose(model, encoded, unprompted, [(residual, rows)], None)
    side = model.default_size
    settings = SamplingSettings(steps=_PREVIEW_STEPS, seeds=(config.seed,), height=side, width=side)
    latents = model.sample(scene.positive, scene.negative, None, settings)
    return to_images(model.decode(latents))[0]


def _write_picture(path: Path, picture: Image.Image, record: dict[str, Any]) -> None:
    write_atomically(path, lambda stream: write_png(picture, stream, record), overwrite=True)


def _keep(files: _Files, result: TrainingResult, residual: Residual, overwrite: bool) -> Outcome:
    """Save the residual and say what happened."""
    held_out = "" if result.held_out is None else f", held-out error {result.held_out:.5f}"
    if result.reason in ("finished", "converged"):
        path = save_residual(residual, files.residual, overwrite)
        files.checkpoint.unlink(missing_ok=True)
        files.partial.unlink(missing_ok=True)
        print(f"{path} ({result.reason} after {result.steps} steps{held_out})")
        return Outcome(0, result.reason, path, result)
    path = save_residual(residual, files.partial, overwrite=True)
    if result.reason == "diverged":
        print(f"error: the loss is no finite number at step {result.steps + 1}; the last good residual is {path}")
        return Outcome(1, "diverged", path, result)
    print(f"interrupted after step {result.steps}; {path} is the residual so far; the same command continues")
    return Outcome(130, "interrupted", path, result)
