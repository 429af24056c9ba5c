"""Pictures of other things that the model makes itself, each thing in a corner by the layout term."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import Cones2Error, ModelError
from ..guidance.cross_attention import LayoutBias
from ..guidance.terms import AttentionPass
from ..guidance.weight_maps import weight_maps
from ..layout.regions import Box, layout_from_boxes
from ..prompt.conditioning import Conditioning
from ..sampling.euler import sample_euler
from ..storage.files import write_atomically
from ..storage.images import open_photo
from .captions import Caption, place_subject
from .draws import keyed_generator
from .model import TrainingModel

_STEPS, _CFG = 12, 5.0  # as the previews: the thing is there, its details do not matter
_SIDES = (0.34, 0.46)  # shortest and longest side of a thing's box, as a fraction of the picture's
_CANVAS = 64  # cells of a layout's side
_TEMPLATE = "a photo of a {}"
_NAME = re.compile(r"\d+_\d{3,}_[0-9a-f]{8}\.png")  # of a cached picture

OnPicture = Callable[[int, int], object]
"""(pictures made, of how many); may raise to stop."""


@dataclass(frozen=True, eq=False)
class ClassPicture:
    """A picture of one thing. phrase: what it is. pixels: [3, S, S] in −1 … 1. region: where it is."""

    phrase: str
    pixels: Tensor
    region: Box


@dataclass(frozen=True, eq=False)
class ClassPictures:
    """How a run's class pictures are made: the same from the same seed.

    shape: of their latents, [C, h, w]. cache: folder of those that were made before; None: keep none.
    """

    model: TrainingModel
    phrases: Sequence[str]
    count: int
    shape: tuple[int, int, int]
    seed: int
    cache: Path | None = None

    def make(self, on_picture: OnPicture = lambda made, count: None) -> list[ClassPicture]:
        """All of them, the phrases in turn. Raises ModelError when the model makes no pictures, or NaN."""
        made: dict[int, Tensor] = {}
        for index in range(self.count):
            pixels = self._cached(index)
            if pixels is not None:
                made[index] = pixels
        missing = [index for index in range(self.count) if index not in made]
        prompts = {phrase: self._prompt(phrase) for phrase in {self._phrase(index) for index in missing}}
        latents = {}
        for number, index in enumerate(missing):
            on_picture(number, len(missing))
            latents[index] = self._sample(index, *prompts[self._phrase(index)])
        for index, latent in latents.items():
            made[index] = self._decoded(index, latent)
        return [ClassPicture(self._phrase(index), made[index], self.region(index)) for index in range(self.count)]

    def region(self, index: int) -> Box:
        """Where the thing of a picture is: at one of the four edges, so that another one fits beside it."""
        generator = keyed_generator(self.seed, "class picture region", index)
        draws = torch.rand(5, generator=generator).tolist()
        low, high = _SIDES
        width, height = (low + (high - low) * draw for draw in draws[:2])
        near = 0.1 * draws[2]
        along = draws[3]
        edge = int(draws[4] * 4)
        if edge < 2:
            return Box(near if edge == 0 else 1 - width - near, along * (1 - height), width, height)
        return Box(along * (1 - width), near if edge == 2 else 1 - height - near, width, height)

    def _phrase(self, index: int) -> str:
        return self.phrases[index % len(self.phrases)]

    def _prompt(self, phrase: str) -> tuple[Caption, Conditioning, Conditioning]:
        caption = place_subject(_TEMPLATE, phrase, self.model.prompt_tokens, self.model.tokenize)
        with torch.no_grad():
            return caption, self.model.encode_text([caption.text]), self.model.encode_text([""])

    @torch.no_grad()
    def _sample(self, index: int, caption: Caption, positive: Conditioning, negative: Conditioning) -> Tensor:
        """Latents [1, C, h, w]."""
        model, schedule = self.model, self.model.noise.schedule(_STEPS)
        layout = layout_from_boxes([self.region(index)], [self._phrase(index)], _CANVAS, _CANVAS, "fractions")
        term = LayoutBias(weight_maps(layout, [[caption.span]]))
        height, width = (side * model.vae_scale_factor for side in self.shape[1:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=model.device)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            timestep = torch.tensor([schedule.timestep(float(sigma))], device=x.device)
            noisy = model.noise.network_input(x, sigma)
            attention = AttentionPass((term,), model.noise.growth(float(sigma)))
            plain = model.predict(noisy, timestep, negative, sizes).float()
            guided = model.predict(noisy, timestep, positive, sizes, attention).float()
            return model.noise.denoised(x, sigma, plain + _CFG * (guided - plain))

        noise = torch.randn((1, *self.shape), generator=keyed_generator(self.seed, "class picture", index))
        return sample_euler(denoise, noise.to(model.device) * float(schedule.sigmas[0]), schedule.sigmas)

    @torch.no_grad()
    def _decoded(self, index: int, latent: Tensor) -> Tensor:
        """Pixels [3, S, S] of 8 bits, as they are found again in the cache."""
        if self.model.decode_latents is None:
            raise ModelError("this model makes no pictures to learn beside: take the recipe photos")
        pixels = self.model.decode_latents(latent)[0].float().cpu()
        if not torch.isfinite(pixels).all():
            raise ModelError("the model makes pictures of NaN or infinite values: load it in float32")
        picture = Image.fromarray(((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
        if (path := self._path(index)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda stream: picture.save(stream, "PNG"), overwrite=True)
        return _pixels(picture)

    def _cached(self, index: int) -> Tensor | None:
        path = self._path(index)
        if path is None or not path.is_file():
            return None
        try:
            pixels = _pixels(open_photo(path))
        except Cones2Error:
            return None
        size = tuple(side * self.model.vae_scale_factor for side in self.shape[1:])
        return pixels if tuple(pixels.shape[1:]) == size else None

    def _path(self, index: int) -> Path | None:
        if self.cache is None:
            return None
        asked = f"{_STEPS} {_CFG} {self.shape} {self._phrase(index)}"  # another thing's picture is not taken
        return self.cache / f"{self.seed}_{index:03}_{zlib.crc32(asked.encode()):08x}.png"


def remove_pictures(folder: Path) -> None:
    """Delete the class pictures of a run that needs them no longer; what else is there stays."""
    if folder.is_symlink():
        return
    with suppress(OSError):
        for picture in folder.glob("*.png"):
            if _NAME.fullmatch(picture.name):
                picture.unlink()
        folder.rmdir()


def _pixels(picture: Image.Image) -> Tensor:
    """[3, H, W] in −1 … 1."""
    return torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
