"""What a training shows in its node while it runs: how far it is, the loss so far, and a quick sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import comfy.utils
import torch
from PIL import Image

from ...cones2.prompt.conditioning import Conditioning
from ...cones2.training.history import Record
from ...cones2.training.loop import Trainer
from ...cones2.training.loss_plot import loss_curve
from ...cones2.training.preview import Previewed, preview_latents
from .previews import previewer_of
from .training_transformer import with_frames

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_WIDTH = 480  # pixels of the view
_CURVES = 50  # views of the loss in a run


def training_view(
    trainer: Trainer, method: Previewed, plain: Conditioning | None, model: ModelPatcher, side: int, every: int
) -> Callable[[Record], None]:
    """A function that moves the host's progress bar, with the loss so far and a sample every so many steps.

    method: what is trained. plain: the empty prompt; None for neither loss nor samples.
    side: of the samples, in pixels.
    """
    steps, latent_format = trainer.config.steps, model.model.latent_format
    cells = side // method.model.vae_scale_factor
    bar = comfy.utils.ProgressBar(steps)
    previewer = previewer_of(model) if plain is not None else None
    time_ids = torch.tensor([side, side, 0, 0, side, side], dtype=torch.float32)
    shape = (latent_format.latent_channels, cells, cells)
    curve_every = max(1, steps // _CURVES)
    sample: Image.Image | None = None

    def show(record: Record) -> None:
        nonlocal sample
        step, view = int(record["step"]), None
        is_sampled = plain is not None and step % every == 0
        if previewer and plain is not None and is_sampled:
            latents = preview_latents(method, plain, time_ids, shape)
            sample = previewer.decode_latent_to_preview(model.model.process_latent_out(with_frames(model, latents)))
        if is_sampled or (plain is not None and step % curve_every == 0):
            curve = loss_curve(trainer.history, f"step {step} of {steps}")
            view = ("JPEG", _view(curve, sample), None)
        bar.update_absolute(step, steps, view)

    return show


def _view(curve: Image.Image, sample: Image.Image | None) -> Image.Image:
    """The sample above the curve, both as wide as the view."""
    parts = [part for part in (sample, curve) if part is not None]
    fitted = [part.convert("RGB").resize((_WIDTH, round(_WIDTH * part.height / part.width))) for part in parts]
    view = Image.new("RGB", (_WIDTH, sum(part.height for part in fitted)))
    top = 0
    for part in fitted:
        view.paste(part, (0, top))
        top += part.height
    return view
