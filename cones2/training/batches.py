"""From encoded photos to batches: latents encoded once, everything else drawn by seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ModelError
from ..guidance.cross_attention import LayoutBias
from ..guidance.joint import JointLayoutBias
from ..guidance.terms import AttentionTerm
from ..guidance.weight_maps import weight_maps
from ..layout.regions import Layout, layout_from_boxes
from .captions import CaptionBook
from .config import TrainingConfig
from .draws import data_order, draw_timesteps, keyed_generator
from .model import Posterior, TrainingModel
from .objective import Batch
from .views import View

_CANVAS = 64  # cells of a layout's longer side; boxes need no more


@dataclass(frozen=True, eq=False)
class LatentView:
    """One view of one photo.

    mean, std: of the image encoder's posterior, [C, h, w].
    mask: [1, h, w] in 0 … 1, or None.
    time_ids: SDXL's picture sizes [6].
    layout: the regions of the subject and its partner, if any; None: train without the layout term.
    partner: another thing in the picture.
    """

    mean: Tensor
    std: Tensor
    mask: Tensor | None
    time_ids: Tensor
    layout: Layout | None = None
    partner: str = ""


@dataclass(frozen=True, eq=False)
class Slot:
    """The random part of one sample: which view and caption, and what noise of the posterior it gets."""

    view: LatentView
    caption: int
    timestep: int
    latent: Tensor
    noise: Tensor


@torch.no_grad()
def encode_views(model: TrainingModel, views: Sequence[View]) -> list[LatentView]:
    """Latents of all views, one at a time, kept on the CPU. Raises ModelError for a VAE that gives no numbers."""
    encoded = []
    for view in views:
        posterior = Posterior(*(part[0].float().cpu() for part in model.encode_image(view.pixels[None])))
        if not (torch.isfinite(posterior.mean).all() and torch.isfinite(posterior.std).all()):
            raise ModelError(f"the VAE encodes {view.name} to NaN or infinite values: load it in float32")
        mask = None if view.mask is None else _latent_mask(view.mask, posterior.mean)
        encoded.append(LatentView(posterior.mean, posterior.std, mask, view.time_ids, _layout(view), view.partner))
    return encoded


def _layout(view: View) -> Layout | None:
    """The view's regions, on a canvas of at most 64 cells a side."""
    if view.region is None:
        return None
    boxes = {"the subject": view.region}
    if view.partner_region is not None:
        boxes[view.partner] = view.partner_region
    height, width = view.pixels.shape[1:]
    scale = min(1.0, _CANVAS / max(height, width))
    canvas = (max(1, round(height * scale)), max(1, round(width * scale)))
    return layout_from_boxes(list(boxes.values()), list(boxes), *canvas, "fractions")


def fingerprint(views: Sequence[LatentView]) -> str:
    """A digest of the training data, to refuse resuming on other photos."""
    digest = hashlib.blake2b(digest_size=16)
    for view in views:
        masks = [view.mask] if view.mask is not None else []
        regions = [region.mask for region in view.layout.regions] if view.layout else []
        for tensor in (view.mean, view.std, view.time_ids, *masks, *regions):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class LatentBatches:
    """Batches of a run.

    captions: how many captions there are of the subject alone.
    rank, world: this process and the number of processes, which share each pass.
    validation: what is held out; empty: the views themselves. book: needed for views with a layout.
    """

    views: Sequence[LatentView]
    config: TrainingConfig
    captions: int
    train_steps: int
    device: torch.device
    rank: int = 0
    world: int = 1
    validation: Sequence[LatentView] = ()
    book: CaptionBook | None = None

    def __call__(self, step: int, micro: int) -> list[tuple[float, Batch]]:
        """The micro-batch of an update: (share of its samples, batch) per latent size."""
        config = self.config
        index = (step * config.accumulation + micro) * self.world + self.rank
        chosen = data_order(config.seed, index * config.batch_size, config.batch_size, len(self.views))
        generator = keyed_generator(config.seed, "step", index)
        timesteps = self._timesteps(step)[micro * self.world + self.rank]
        captions = torch.randint(self.captions, (config.batch_size,), generator=generator)
        slots = [
            _draw_slot(self.views[view], self._caption(self.views[view], int(caption)), int(timestep), generator)
            for view, caption, timestep in zip(chosen, captions, timesteps, strict=True)
        ]
        return [(len(group) / config.batch_size, self._stack(group)) for group in _by_shape(slots)]

    def held_out(self) -> list[tuple[float, Batch]]:
        """The fixed batches for validation; no training step draws from their generator."""
        config, count = self.config, self.config.held_out
        if not count:
            return []
        generator = keyed_generator(0, "held-out")
        timesteps = draw_timesteps(generator, count, self._bounds(), stratified=True)
        views = self.validation or self.views
        slots = []
        for index in range(count):
            view = views[index % len(views)]
            caption = self._caption(view, index % self.captions)
            still = replace(view, std=torch.zeros_like(view.std))
            slots.append(_draw_slot(still, caption, int(timesteps[index]), generator))
        batches = [
            group[first : first + config.batch_size]
            for group in _by_shape(slots)
            for first in range(0, len(group), config.batch_size)
        ]
        return [(len(batch) / count, self._stack(batch)) for batch in batches]

    def _caption(self, view: LatentView, draw: int) -> int:
        """The caption of a draw from 0 … captions − 1, among those that fit the view."""
        if not view.partner or self.book is None:
            return draw
        choices = self.book.choices[view.partner]
        return choices[draw % len(choices)]

    def _stack(self, slots: Sequence[Slot]) -> Batch:
        batch = _stacked(slots, self.device)
        return batch if self.book is None else replace(batch, terms=layout_terms(slots, self.book))

    def _timesteps(self, step: int) -> Tensor:
        """All timesteps of an update [passes, batch]: spread over its passes and processes, not within each alone."""
        config = self.config
        passes = config.accumulation * self.world
        generator = keyed_generator(config.seed, "timesteps", step)
        return draw_timesteps(generator, passes * config.batch_size, self._bounds(), config.stratified).view(passes, -1)

    def _bounds(self) -> tuple[int, int]:
        low, high = (round(fraction * self.train_steps) for fraction in self.config.timesteps)
        return low, max(high, low + 1)


def layout_terms(slots: Sequence[Slot], book: CaptionBook) -> tuple[AttentionTerm, ...]:
    """The layout term of the samples, each with its own regions and caption; none where the views have no layouts."""
    terms = []
    for slot in slots:
        if slot.view.layout is not None:
            caption = book.captions[slot.caption]
            spans = [[span] for span in (caption.span, caption.other) if span]
            terms.append(LayoutBias(weight_maps(slot.view.layout, spans)))
    return (JointLayoutBias(terms),) if terms else ()


def _draw_slot(view: LatentView, caption: int, timestep: int, generator: torch.Generator) -> Slot:
    spread = torch.randn(view.mean.shape, generator=generator)
    noise = torch.randn(view.mean.shape, generator=generator)
    return Slot(view, caption, timestep, view.mean + view.std * spread, noise)


def _by_shape(slots: Sequence[Slot]) -> Iterator[list[Slot]]:
    groups: dict[tuple[int, ...], list[Slot]] = {}
    for slot in slots:
        kind = (*slot.latent.shape, slot.view.mask is None, slot.view.layout is None)
        groups.setdefault(kind, []).append(slot)
    yield from groups.values()


def _stacked(slots: Sequence[Slot], device: torch.device) -> Batch:
    masks = [slot.view.mask for slot in slots if slot.view.mask is not None]
    return Batch(
        latents=torch.stack([slot.latent for slot in slots]).to(device),
        noise=torch.stack([slot.noise for slot in slots]).to(device),
        timesteps=torch.tensor([slot.timestep for slot in slots], device=device),
        captions=tuple(slot.caption for slot in slots),
        masks=torch.stack(masks).to(device) if masks else None,
        time_ids=torch.stack([slot.view.time_ids for slot in slots]).to(device),
    )


def _latent_mask(mask: Tensor, latent: Tensor) -> Tensor:
    """Share of each cell of a latent [C, h, w] inside the mask [H, W]: [1, h, w]."""
    return torch.nn.functional.adaptive_avg_pool2d(mask[None].float(), (latent.shape[-2], latent.shape[-1]))
