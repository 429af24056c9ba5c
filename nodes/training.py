"""Train a residual inside the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor

from ..cones2.errors import ConfigError, ModelError
from ..cones2.residual import Residual, save_residual
from ..cones2.training.config import TrainingConfig, default_config
from ..cones2.training.images import Photo, ViewSettings, photos_from_pixels
from ..cones2.training.log import loss_curve
from ..cones2.training.loop import Record, Trainer, TrainingResult
from ..cones2.training.model import Conditioning, TrainingModel
from ..cones2.training.preview import preview_latents
from ..cones2.training.session import prepare_run, result_residual
from .host import CATEGORY, ResidualSocket, to_image
from .residuals import residual_path
from .trainable import precision_of, trainable_model

CHECKPOINTS = "cones2_training"
"""Folder inside the output folder where interrupted runs wait."""

_HIGHEST_PAPER_RATE = 1e-2


class Cones2TrainResidual(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2TrainResidual",
            display_name="Train Residual (Cones 2)",
            category=CATEGORY,
            description="Learns a subject from 3-6 photos of it: a few kilobytes that turn a word of the prompt into "
            "your dog, mug or vase.",
            search_aliases=["train concept", "learn subject", "personalize", "dreambooth", "textual inversion"],
            is_input_list=True,
            inputs=_inputs(),
            outputs=[
                ResidualSocket.Output("residual", tooltip="The subject. Connect it to Apply Residual to Conditioning."),
                io.Custom("LOSS_MAP").Output(
                    "loss_map", tooltip="The loss of every step, for the host's Plot Loss Graph."
                ),
                io.Image.Output("loss_curve", tooltip="The loss and the held-out error as a picture."),
            ],
        )

    @classmethod
    def execute(cls, images: list[Tensor], **inputs: list[Any]) -> io.NodeOutput:
        masks = inputs.pop("masks", None)
        values = {name: value[0] for name, value in inputs.items()}
        result, residual = _train(_photos(images, masks), **values)
        losses = [record["loss"] for record in result.history]
        title = f"{residual.subject}, {values['method']}"
        return io.NodeOutput((residual,), {"loss": losses}, to_image([loss_curve(result.history, title)]))


def _inputs() -> list[Any]:
    return [
        io.Model.Input("model", tooltip="An SD 1.x, SD 2.x or SDXL model. It stays as it is."),
        io.Clip.Input("clip", tooltip="Its text encoder. It stays as it is."),
        io.Vae.Input("vae", tooltip="Its VAE."),
        io.Image.Input("images", tooltip="3-6 photos of the subject: a batch, or the list of a dataset loader."),
        io.String.Input(
            "subject",
            default="dog",
            tooltip='The kind of thing in the photos, in the words that prompts will use: "dog", "pet cat".',
        ),
        io.Combo.Input(
            "method",
            options=["direct", "paper"],
            default="direct",
            tooltip="direct: learn the vectors themselves (fast). paper: tune a copy of the text encoder as published "
            "(slow; use 4000 steps, learning rate 0.000005, batch 1).",
        ),
        io.Int.Input("steps", default=200, min=1, max=100000, tooltip="Updates at most; direct stops when it is done."),
        io.Float.Input(
            "learning_rate",
            default=0.05,
            min=1e-7,
            max=10.0,
            step=1e-7,
            round=1e-7,
            tooltip="0.05 for direct, 0.000005 for paper.",
        ),
        io.Int.Input(
            "resolution", default=512, min=64, max=2048, step=64, tooltip="Side of the training pictures in pixels."
        ),
        io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="Photos per forward pass; more need more memory."),
        io.Int.Input("accumulation", default=4, min=1, max=64, tooltip="Forward passes per update."),
        io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF >> 1, tooltip="Decides everything random."),
        io.String.Input(
            "save_name",
            default="",
            tooltip="File name in models/residuals; numbered where that exists. Empty: not saved.",
        ),
        io.Boolean.Input("gradient_checkpointing", default=False, tooltip="Much less memory, about a third slower."),
        io.Int.Input(
            "preview_every", default=50, min=0, max=100000, tooltip="Show a quick sample every so many steps; 0: never."
        ),
        io.Mask.Input("masks", optional=True, tooltip="White where the subject is: one mask, or one per photo."),
    ]


def _photos(images: Sequence[Tensor], masks: Sequence[Tensor] | None) -> list[Photo]:
    """All photos of a batch or a list of batches; masks the same, or one mask for all."""
    if masks is not None and len(masks) not in (1, len(images)):
        raise ConfigError(f"{len(masks)} masks for {len(images)} images: give one for all or one for each")
    photos = []
    for index, batch in enumerate(images):
        mask = None if masks is None else masks[index if len(masks) > 1 else 0]
        if mask is not None and len(images) > 1 and len(masks) == 1 and len(mask) == len(images):
            mask = mask[index : index + 1]
        photos += photos_from_pixels(batch.detach().clone(), mask)
    return photos


def _train(photos: list[Photo], model: Any, clip: Any, vae: Any, **values: Any) -> tuple[TrainingResult, Residual]:
    """Train, save, and leave the host's models untouched; raises the host's interrupt when stopped."""
    for name, part in (("model", model), ("clip", clip), ("vae", vae)):
        if part is None:
            raise ModelError(f"the {name} input is empty: connect all three outputs of a checkpoint loader")
    resolution, save_name = values.pop("resolution"), values.pop("save_name").strip()
    checkpointing, preview_every = values.pop("gradient_checkpointing"), values.pop("preview_every")
    if save_name:
        residual_path(save_name)
    if values["method"] == "paper" and values["learning_rate"] > _HIGHEST_PAPER_RATE:
        raise ConfigError(
            f"a learning rate of {values['learning_rate']:g} is for the direct method: the published one of the paper "
            "method is 0.000005"
        )
    config = default_config(**values, precision=precision_of(model))
    views = ViewSettings(resolution, seed=config.seed)
    saved = _checkpoint_path(config, views, photos, model)
    with (
        torch.inference_mode(False),
        trainable_model(model, clip, vae, config.method, checkpointing) as seen,
    ):
        # the empty prompt first: encoding text later could push the UNet out of its memory
        plain = _plain(seen) if preview_every else None
        trainer = prepare_run(seen, photos, views, config, saved)
        show = _progress(trainer, plain, model, views.resolution, preview_every)
        try:
            result = trainer.run(show, comfy.model_management.processing_interrupted)
        except comfy.model_management.InterruptProcessingException:  # the progress bar raises it too
            trainer.save()
            raise
    return _finish(result, config, photos, saved, save_name, resolution)


def _finish(
    result: TrainingResult, config: TrainingConfig, photos: list[Photo], saved: Path, save_name: str, resolution: int
) -> tuple[TrainingResult, Residual]:
    if result.reason == "interrupted":
        comfy.model_management.throw_exception_if_processing_interrupted()
    if result.reason == "diverged":
        raise ModelError(
            f"the loss is no finite number at step {result.steps + 1}: lower the learning rate "
            f"({config.learning_rate:g}); the last checkpoint is kept in {saved.parent}"
        )
    residual = result_residual(config, result, len(photos), {"resolution": str(resolution)})
    saved.unlink(missing_ok=True)
    if save_name:
        save_residual(residual, _free(residual_path(save_name)))
    return result, residual


def _free(path: Path) -> Path:
    """The first name that no file has: rex, rex_2, rex_3 …"""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return free


@torch.no_grad()
def _plain(seen: TrainingModel) -> Conditioning:
    return seen.encode_text([""])


def _progress(
    trainer: Trainer, plain: Conditioning | None, model: Any, side: int, every: int
) -> Callable[[Record], None]:
    """A function that moves the host's progress bar, with a sample every so many steps."""
    steps, seen, latents_of = trainer.config.steps, trainer.method.model, model.model.latent_format
    bar = comfy.utils.ProgressBar(steps)
    previewer = latent_preview.get_previewer(model.load_device, latents_of) if plain is not None else None
    size = torch.tensor([side, side, 0, 0, side, side], dtype=torch.float32)
    shape = (latents_of.latent_channels, side // seen.factor, side // seen.factor)

    def show(record: Record) -> None:
        step, picture = int(record["step"]), None
        if previewer and plain is not None and step % every == 0:
            latents = preview_latents(trainer.method, plain, size, shape)
            picture = previewer.decode_latent_to_preview_image("JPEG", model.model.process_latent_out(latents))
        bar.update_absolute(step, steps, picture)

    return show


def _checkpoint_path(config: TrainingConfig, views: ViewSettings, photos: Sequence[Photo], model: Any) -> Path:
    """Where a run of these very inputs waits after an interrupt."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((sorted(config.numbers().items()), asdict(views))).encode())
    for photo in photos:
        digest.update(photo.picture.tobytes() + (photo.mask.tobytes() if photo.mask else b""))
    for weight in model.model.diffusion_model.parameters():
        digest.update(repr(weight.detach().flatten()[:4].float().tolist()).encode())
    return Path(folder_paths.get_output_directory()) / CHECKPOINTS / f"{digest.hexdigest()}.checkpoint.pt"


NODES = [Cones2TrainResidual]
