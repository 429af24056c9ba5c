"""Batches for an image adapter: pictures with the references of their objects, drawn by seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..concepts.cutout import CutOut
from ..errors import ModelError
from ..layout.regions import Box
from ..messages import shown
from ..storage.images import open_photo
from .adapter_data import LabeledObject, LabeledPicture
from .adapter_files import cut_by_mask, open_reference
from .config import TrainingConfig
from .draws import data_order, draw_timesteps, keyed_generator
from .model import TrainingModel

MOST_REFERENCES = 4
"""Of one sample; of more objects some are drawn."""

_SEEN = 0.5  # of an object's box must be in the crop, or it is left out
_KEPT_BYTES = 512 << 20  # of what is encoded once


@dataclass(frozen=True, eq=False)
class AdapterBatch:
    """One micro-batch of B pictures with up to k references each.

    latents, noise: [B, C, h, w].
    timesteps: int64 [B].
    captions: B texts, empty where they were dropped.
    names: of each picture's references.
    features: of the references as the image encoder gives them, [B, k, …]; those of nothing where there are fewer, or
    where they were dropped.
    time_ids: SDXL's picture sizes [B, 6].
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    captions: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    features: Tensor
    time_ids: Tensor


@dataclass(frozen=True, eq=False)
class ImageReader:
    """An image encoder as training sees it.

    read: a cut-out to its features, [f] or [patches + 1, f].
    nothing: the features that stand for no picture.
    """

    read: Callable[[CutOut], Tensor]
    nothing: Tensor


@dataclass
class Kept:
    """Tensors that are computed once, as far as they fit."""

    room: int = _KEPT_BYTES
    _values: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    def get(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor of a key."""
        if key in self._values:
            return self._values[key]
        value = compute()
        if value.nbytes <= self.room:
            self.room -= value.nbytes
            self._values[key] = value
        return value


@dataclass(frozen=True)
class _Crop:
    """The square that a picture is cut to, in pixels."""

    left: int
    top: int
    side: int

    def seen(self, box: Box, size: tuple[int, int]) -> float:
        """Share of an object's box that is in it. size: (width, height) of the picture."""
        shares = (
            (min((start + length) * full, first + self.side) - max(start * full, first)) / (length * full)
            for start, length, full, first in (
                (box.x, box.width, size[0], self.left),
                (box.y, box.height, size[1], self.top),
            )
        )
        across, down = (max(0.0, share) for share in shares)
        return across * down


class AdapterBatches:
    """(step, micro) → the micro-batch of an update, the same from the same seed.

    size: pixels of a training picture's side. rank, world: this process and the number of processes.
    """

    def __init__(
        self,
        model: TrainingModel,
        reader: ImageReader,
        pictures: Sequence[LabeledPicture],
        config: TrainingConfig,
        size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._model, self._reader, self._pictures = model, reader, pictures
        self._config, self._size, self._rank, self._world = config, size, rank, world
        self._kept = Kept()
        self._last: tuple[Path, Image.Image] | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of captions, names and boxes, to refuse resuming on others."""
        digest = hashlib.blake2b(str(self._size).encode(), digest_size=16)
        for picture in self._pictures:
            told = [(each.name, tuple(each.box), each.mask is None, len(each.references)) for each in picture.objects]
            digest.update(repr((picture.caption, told)).encode("utf-8", "replace"))
        return digest.hexdigest()

    def __call__(self, step: int, micro: int) -> list[tuple[float, AdapterBatch]]:
        """The micro-batch. Raises Cones2Error for a file that cannot be read."""
        config, count = self._config, self._config.batch_size
        index = (step * config.accumulation + micro) * self._world + self._rank
        generator = keyed_generator(config.seed, "adapter", index)
        chosen = data_order(config.seed, index * count, count, len(self._pictures))
        samples = [self._sample(place, generator) for place in chosen]
        noise = torch.randn((count, *samples[0].latent.shape), generator=generator)
        timesteps = draw_timesteps(generator, count, (0, self._model.noise.train_steps), config.stratified)
        most = max(len(sample.features) for sample in samples)
        nothing = self._reader.nothing
        features = torch.stack(
            [torch.stack([*each.features, *[nothing] * (max(most, 1) - len(each.features))]) for each in samples]
        )
        device = self._model.device
        batch = AdapterBatch(
            torch.stack([sample.latent for sample in samples]).to(device),
            noise.to(device),
            timesteps.to(device),
            tuple(sample.caption for sample in samples),
            tuple(sample.names for sample in samples),
            features.to(device),
            torch.stack([sample.time_ids for sample in samples]).to(device),
        )
        return [(1.0, batch)]

    def _sample(self, place: int, generator: torch.Generator) -> _Sample:
        picture, drop = self._pictures[place], self._config.drop
        width, height = self._kept.get(("size", place), lambda: torch.tensor(self._photo(picture).size)).tolist()
        crop = _crop(width, height, generator)
        mean, std = self._latent(place, crop, (width, height))
        latent = mean + std * torch.randn(mean.shape, generator=generator)
        there = [each for each in picture.objects if crop.seen(each.box, (width, height)) >= _SEEN]
        order = torch.randperm(len(there), generator=generator).tolist()[:MOST_REFERENCES]
        chosen = [there[index] for index in order]
        features = [self._features(picture, each, generator) for each in chosen]
        kind = float(torch.rand((), generator=generator))
        without_references = kind < drop or 2 * drop <= kind < 3 * drop
        without_caption = drop <= kind < 3 * drop
        if without_references:
            features = [self._reader.nothing] * len(features)
        scale = self._size / crop.side
        sizes = (height, width, crop.top * scale, crop.left * scale, self._size, self._size)
        return _Sample(
            latent,
            "" if without_caption else picture.caption,
            tuple(each.name for each in chosen),
            features,
            torch.tensor(sizes, dtype=torch.float32).round(),
        )

    def _latent(self, place: int, crop: _Crop, size: tuple[int, int]) -> Tensor:
        """Mean and deviation of the autoencoder's posterior, [2, C, h, w]; kept where no other crop is possible."""

        def encode() -> Tensor:
            picture = self._pictures[place]
            window = (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side)
            square = self._photo(picture).crop(window).resize((self._size, self._size), Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.asarray(square, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
            with torch.no_grad():
                posterior = self._model.encode_image(pixels[None].to(self._model.device))
            encoded = torch.cat([part.float().cpu() for part in posterior])
            if not bool(torch.isfinite(encoded).all()):
                raise ModelError(
                    f"the VAE encodes {shown(picture.path.name)} to NaN or infinite values: load it in float32"
                )
            return encoded

        return self._kept.get(("latent", place), encode) if size[0] == size[1] else encode()

    def _features(self, picture: LabeledPicture, one: LabeledObject, generator: torch.Generator) -> Tensor:
        """Of one of the object's references, mirrored at random."""
        draw, mirrored = torch.rand(2, generator=generator).tolist()
        reference, flipped = None, mirrored < 0.5
        if one.references:
            reference = one.references[int(draw * len(one.references))]

        def read() -> Tensor:
            cutout = open_reference(reference) if reference else self._cut(picture, one)
            with torch.no_grad():
                return self._reader.read(cutout.flipped() if flipped else cutout).float().cpu()

        source = reference or (picture.path, one.name)
        return self._kept.get(("features", source, flipped), read)

    def _cut(self, picture: LabeledPicture, one: LabeledObject) -> CutOut:
        """The object cut out of its own picture."""
        assert one.mask is not None  # `read_labeled_pictures` takes no object without mask and references
        return cut_by_mask(self._photo(picture), one.mask)

    def _photo(self, picture: LabeledPicture) -> Image.Image:
        """The picture, decoded once for its latent and all its objects."""
        if self._last is None or self._last[0] != picture.path:
            self._last = (picture.path, open_photo(picture.path))
        return self._last[1]


@dataclass(frozen=True, eq=False)
class _Sample:
    """One entry of a batch."""

    latent: Tensor
    caption: str
    names: tuple[str, ...]
    features: list[Tensor]
    time_ids: Tensor


def _crop(width: int, height: int, generator: torch.Generator) -> _Crop:
    """A square of the shorter side, anywhere along the longer one."""
    side, draw = min(width, height), float(torch.rand((), generator=generator))
    return _Crop(round(draw * (width - side)), round(draw * (height - side)), side)
