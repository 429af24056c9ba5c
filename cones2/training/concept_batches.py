"""Batches of Custom Diffusion: photos drawn anew at every step, and as many pictures of their classes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import ConfigError, ModelError
from ..messages import shown
from .augmentation import Augmented, augmented, draw_augmentation
from .concepts import TrainingConcept
from .config import TrainingConfig
from .delta_method import ConceptBatch
from .draws import data_order, draw_timesteps, keyed_generator
from .model import TrainingModel
from .views import EVERY_MASK_IS_EMPTY, Photo

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Picture:
    """A square picture and its caption. mask: where its subject is, mode "L", or None."""

    name: str
    image: Image.Image
    mask: Image.Image | None
    caption: str
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Sample:
    """One entry of a batch: latent [C, h, w], where its error counts [1, h, w], caption, SDXL's sizes [6]."""

    latent: Tensor
    mask: Tensor
    caption: str
    time_ids: Tensor


class ConceptBatches:
    """(step, micro) → the micro-batch of an update, the same from the same seed.

    concepts: their photos make one pool, their class pictures another. size: pixels of a training picture's side.
    flip: mirror half of the photos. rank, world: this process and the number of processes.
    ahead: of how many updates the pictures are encoded together, for hosts that move networks in and out.
    """

    def __init__(
        self,
        model: TrainingModel,
        concepts: Sequence[TrainingConcept],
        config: TrainingConfig,
        size: int,
        flip: bool = False,
        rank: int = 0,
        world: int = 1,
        ahead: int = 1,
    ) -> None:
        self._ahead = ahead
        self._made: dict[tuple[int, int], ConceptBatch] = {}
        self._model, self._config, self._size, self._flip = model, config, size, flip
        self._rank, self._world = rank, world
        self._cells = size // model.vae_scale_factor
        self._photos = _usable([_picture(photo, concept.prompt) for concept in concepts for photo in concept.photos])
        self._class_pictures = [
            _picture(picture.photo, picture.caption, picture.size)
            for concept in concepts
            for picture in concept.class_photos
        ]
        self._class_latents: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def fingerprint(self) -> str:
        """A digest of the pictures and captions, to refuse resuming on others."""
        digest = hashlib.blake2b(f"{self._size} {self._flip}".encode(), digest_size=16)
        for picture in (*self._photos, *self._class_pictures):
            digest.update(picture.caption.encode("utf-8", "replace"))
            for part in (picture.image, picture.mask):
                digest.update(b"-" if part is None else part.tobytes())
        return digest.hexdigest()

    def __call__(self, step: int, micro: int) -> list[tuple[float, ConceptBatch]]:
        """The micro-batch: photos, then class pictures. Raises ModelError when the VAE gives no numbers."""
        if (step, micro) not in self._made:
            steps = range(step, max(step + 1, min(step + self._ahead, self._config.steps)))
            coming = [(later, part) for later in steps for part in range(self._config.accumulation)]
            self._made = {key: self._drawn(*key) for key in coming}
        return [(1.0, self._made[step, micro])]

    def _drawn(self, step: int, micro: int) -> ConceptBatch:
        config, count = self._config, self._config.batch_size
        index = (step * config.accumulation + micro) * self._world + self._rank
        generator = keyed_generator(config.seed, "concepts", index)
        chosen = data_order(config.seed, index * count, count, len(self._photos))
        samples = [self._photo(self._photos[place], generator) for place in chosen]
        if self._class_pictures:
            others = data_order(config.seed + 1, index * count, count, len(self._class_pictures))
            samples += [self._class_picture(place, generator) for place in others]
        latents = torch.stack([sample.latent for sample in samples])
        noise = torch.randn(latents.shape, generator=generator)
        bounds = (0, self._model.noise.train_steps)
        timesteps = draw_timesteps(generator, len(samples), bounds, config.stratified)
        device = self._model.device
        return ConceptBatch(
            latents.to(device),
            noise.to(device),
            timesteps.to(device),
            tuple(sample.caption for sample in samples),
            torch.stack([sample.mask for sample in samples[:count]]).to(device),
            torch.stack([sample.time_ids for sample in samples]).to(device),
        )

    def _photo(self, picture: _Picture, generator: torch.Generator) -> _Sample:
        draw = draw_augmentation(self._size, generator, self._flip, self._config.augment)
        seen = augmented(picture.image, self._size, draw, self._cells)
        mask = seen.mask
        if picture.mask is not None:
            cover = augmented(picture.mask.convert("RGB"), self._size, draw, self._cells)
            mask = _both(mask, cover, self._cells)
        mean, std = self._encoded(seen.pixels, picture.name)
        latent = mean + std * torch.randn(mean.shape, generator=generator)
        return _Sample(latent, mask, draw.words + picture.caption, self._sizes(picture))

    def _class_picture(self, place: int, generator: torch.Generator) -> _Sample:
        picture = self._class_pictures[place]
        if place not in self._class_latents:
            draw = draw_augmentation(self._size, generator, augment=False)
            seen = augmented(picture.image, self._size, draw, self._cells)
            self._class_latents[place] = self._encoded(seen.pixels, picture.name)
        mean, std = self._class_latents[place]
        latent = mean + std * torch.randn(mean.shape, generator=generator)
        return _Sample(latent, torch.ones(1, self._cells, self._cells), picture.caption, self._sizes(picture))

    @torch.no_grad()
    def _encoded(self, pixels: Tensor, name: str) -> tuple[Tensor, Tensor]:
        mean, std = (part[0].float().cpu() for part in self._model.encode_image(pixels[None].to(self._model.device)))
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
            raise ModelError(f"the VAE encodes {name} to NaN or infinite values: load it in float32")
        return mean, std

    def _sizes(self, picture: _Picture) -> Tensor:
        width, height = picture.size
        return torch.tensor([height, width, 0, 0, self._size, self._size], dtype=torch.float32)


def _picture(photo: Photo, caption: str, size: tuple[int, int] | None = None) -> _Picture:
    """The center square of a photo. size: of the file, where the photo was shrunk."""
    side = min(photo.picture.size)
    image = ImageOps.fit(photo.picture, (side, side))
    mask = None if photo.cover is None else ImageOps.fit(photo.cover, (side, side))
    return _Picture(photo.name, image, mask, caption, size or photo.picture.size)


def _usable(pictures: Sequence[_Picture]) -> list[_Picture]:
    """Those whose subject is somewhere. Raises ConfigError as `make_views` does when there is none."""
    usable = [picture for picture in pictures if picture.mask is None or picture.mask.getbbox()]
    for picture in pictures:
        if picture not in usable:
            log.warning("skipped: the mask of %s is empty", shown(picture.name))
    if pictures and not usable:
        raise ConfigError(EVERY_MASK_IS_EMPTY)
    return usable


def _both(mask: Tensor, cover: Augmented, cells: int) -> Tensor:
    """Cells where both masks count; the first alone where nothing is left. cover: the subject's, white in −1 … 1."""
    share = torch.nn.functional.adaptive_avg_pool2d((cover.pixels[:1] + 1) / 2, (cells, cells))
    both = mask * share
    return both if bool(both.any()) else mask
