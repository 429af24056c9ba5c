"""Starts from the photos on the host: the subjects' cut-outs in a run's noise, whatever sampler follows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...cones2.concepts.collage import PhotoPlace, collages, photo_places
from ...cones2.errors import ModelError, ResidualError
from ...cones2.messages import listed
from ...cones2.sampling.start import photo_shift
from .bound_layout import LAYOUT_KEY, BoundLayout, PhotoStart
from .prompt_record import PROMPT_KEY, PromptRecord

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.samplers import CFGGuider
    from comfy.sd import VAE

log = logging.getLogger(__name__)

_EARLY = 0.1  # of the noise schedule: a run that begins later begins from a picture


def photo_start_of(amount: float, vae: VAE | None) -> PhotoStart | None:
    """What a node was asked for; None for a plain start. Raises ModelError without a VAE."""
    if not amount:
        return None
    if vae is None:
        raise ModelError("photo_start needs a VAE to encode the photos: connect the VAE that decodes your pictures")
    return PhotoStart(amount, vae)


def with_photos(
    guider: CFGGuider, noise: Tensor, latents: Tensor, sigmas: Tensor, mask: Tensor | None, seed: int | None
) -> Tensor:
    """The starting noise [B, C, h, w] of a run with the cut-outs that its conditionings ask for.

    latents: what is denoised, zeros when there is no picture yet. mask: [B, C, h, w], where it may change.
    The same tensor when nothing is asked for, or when the run begins from a picture; the log says so then.
    Raises ResidualError when no subject has a cut-out, ModelError for a VAE of another kind of model.
    """
    asking = _asking(guider.conds)
    if not asking:
        return noise
    if not _begins_in_noise(guider.model_patcher, noise, latents, sigmas):
        log.info("photo_start does nothing in this run: it begins from a picture, not from noise")
        return noise
    shift = torch.zeros_like(noise)
    for start, places in _placed(asking):
        own, cells = _shift(guider.model_patcher, start, places, noise.shape, seed or 0)
        shift = torch.where(cells.to(shift.device), own.to(shift), shift)
    return noise + (shift if mask is None else shift * mask.to(shift))


def _asking(conds: Mapping[str, Sequence[dict[str, Any]]]) -> list[tuple[PhotoStart, BoundLayout, PromptRecord]]:
    """The layouts that ask for a start from photos, each with the prompt that it is bound to."""
    found = [
        (cond[LAYOUT_KEY], cond.get(PROMPT_KEY))
        for name, entries in conds.items()
        for cond in entries
        if name != "negative" and cond.get(LAYOUT_KEY) is not None
    ]
    return [
        (layout.photos, layout, record)
        for layout, record in dict.fromkeys(found)
        if layout.photos is not None and record is not None
    ]


def _placed(
    asking: Sequence[tuple[PhotoStart, BoundLayout, PromptRecord]],
) -> list[tuple[PhotoStart, tuple[PhotoPlace, ...]]]:
    """Where the photos of each layout go; the log names the subjects that have none."""
    placed = [
        (start, photo_places(layout.layout.regions, layout.spans, record.placed)) for start, layout, record in asking
    ]
    if not any(places for _, places in placed):
        raise ResidualError(
            "photo_start needs cut-outs, and no subject of the layout has one: train the residuals again, or connect a "
            "photo to Load Residual"
        )
    for (_, layout, _), (_, places) in zip(asking, placed, strict=True):
        photographed = {id(place.region) for place in places}
        others = [r.subject for r in layout.layout.regions if r.weight > 0 and id(r.mask) not in photographed]
        if others:
            log.warning("photo_start: no cut-out of %s, which starts from noise", listed(others))
    return [(start, places) for start, places in placed if places]


def _begins_in_noise(model: ModelPatcher, noise: Tensor, latents: Tensor, sigmas: Tensor) -> bool:
    """Whether a run adds noise, and so much of it, or to nothing, that no picture is seen through it."""
    early = float(sigmas[0]) >= model.get_model_object("model_sampling").percent_to_sigma(_EARLY)
    return bool(noise.any()) and (early or not bool(latents.any()))


def _shift(
    model: ModelPatcher, start: PhotoStart, places: Sequence[PhotoPlace], shape: Sequence[int], seed: int
) -> tuple[Tensor, Tensor]:
    """The shift [B, C, h, w] of a run's noise and its cells. Picture b takes the photo that seed + b chooses."""
    vae, (count, channels, height, width) = start.vae, shape
    scale = vae.spacial_compression_encode()
    drawn = collages(places, range(seed, seed + count), height * scale, width * scale)
    latents = model.model.process_latent_in(vae.encode(drawn.pictures.movedim(1, -1)))
    if tuple(latents.shape[1:]) != (channels, height, width):
        raise ModelError(
            f"the VAE at photo_start makes latents of {tuple(latents.shape[1:])} but this model has "
            f"{(channels, height, width)}: connect the VAE that decodes your pictures"
        )
    cells = drawn.cells(height, width)
    return photo_shift(latents.float(), cells, start.amount), cells
