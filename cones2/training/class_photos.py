"""Pictures of a class that the model makes itself, for training that keeps what the class looks like."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import Cones2Error, ModelError
from ..sampling.euler import sample_euler
from ..storage.files import write_atomically
from ..storage.images import open_photo
from .class_pictures import OnPicture
from .concepts import ClassPhoto
from .draws import keyed_generator
from .model import TrainingModel
from .views import Photo

_STEPS, _CFG = 25, 6.0


def make_class_photos(
    model: TrainingModel,
    prompt: str,
    count: int,
    size: int,
    seed: int = 0,
    cache: Path | None = None,
    on_picture: OnPicture = lambda made, count: None,
) -> list[ClassPhoto]:
    """So many pictures of a prompt such as "cat", the same from the same seed.

    size: pixels of their side. cache: folder of those that were made before; None: keep none. on_picture: told before
    each one that is made. Raises ModelError when the model makes no pictures, or NaN.
    """
    photos = []
    for index in range(count):
        path = None if cache is None else cache / _file_name(prompt, size, seed, index)
        picture = _kept(path, size)
        if picture is None:
            on_picture(index, count)
            picture = _made(model, prompt, size, seed, index)
            if path is not None:
                _keep(picture, path)
        photos.append(ClassPhoto(Photo(f"class picture {index + 1}", picture), prompt))
    return photos


@torch.no_grad()
def _made(model: TrainingModel, prompt: str, size: int, seed: int, index: int) -> Image.Image:
    if model.decode_latents is None:
        raise ModelError("this model makes no pictures of its own: give a folder of pictures of the class")
    schedule = model.noise.schedule(_STEPS)
    positive, negative = model.encode_text([prompt]), model.encode_text([""])
    sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32, device=model.device)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        timestep = torch.tensor([schedule.timestep(float(sigma))], device=x.device)
        noisy = model.noise.network_input(x, sigma)
        plain = model.predict(noisy, timestep, negative, sizes).float()
        guided = model.predict(noisy, timestep, positive, sizes).float()
        return model.noise.denoised(x, sigma, plain + _CFG * (guided - plain))

    cells = size // model.vae_scale_factor
    channels = model.encode_image(torch.zeros(1, 3, size, size, device=model.device)).mean.shape[1]
    noise = torch.randn((1, channels, cells, cells), generator=keyed_generator(seed, "class photo", index))
    latent = sample_euler(denoise, noise.to(model.device) * float(schedule.sigmas[0]), schedule.sigmas)
    pixels = model.decode_latents(latent)[0].float().cpu()
    if not torch.isfinite(pixels).all():
        raise ModelError("the model makes pictures of NaN or infinite values: load it in float32")
    values = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(values))


def _kept(path: Path | None, size: int) -> Image.Image | None:
    if path is None or not path.is_file():
        return None
    try:
        picture = open_photo(path)
    except Cones2Error:
        return None
    return picture if picture.size == (size, size) else None


def _keep(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda stream: picture.save(stream, "PNG"), overwrite=True)


def _file_name(prompt: str, size: int, seed: int, index: int) -> str:
    """As `class_pictures` calls its files, so that the same function removes both."""
    asked = f"photo {_STEPS} {_CFG} {size} {prompt}"
    return f"{seed}_{index:03}_{zlib.crc32(asked.encode()):08x}.png"
