"""How alike pictures and texts are: CLIP and DINO of transformers, from folders of the user's, never downloaded.

Pictures are prepared as both networks were trained: the shorter side resized (bicubic), the middle cut out, colors
normalized. CLIP's whole input is the resized picture; DINO's is 224 of 256 pixels, or as much of another size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ModelError
from ..messages import shown
from ..storage.files import shown_path

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_DINO_MEAN, _DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_DINO_RESIZE = 256 / 224
_BATCH = 16

Embed = Callable[[Iterable[Image.Image]], Tensor]
"""RGB pictures, at least one → unit vectors [n, d], float32. A few pictures at a time are kept in memory."""


class Clip:
    """A CLIP model with both halves, such as openai/clip-vit-base-patch32.

    folder: of its weights and tokenizer, as transformers saves them.
    Raises ModelError for a folder that is missing or holds something else.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._network = _loaded(folder, "CLIPModel", "clip", device)
        self._tokenizer = _loaded(folder, "CLIPTokenizer", "clip", None)
        self._device = device

    def pictures(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Unit vectors [n, d] of RGB pictures."""
        side = int(self._network.config.vision_config.image_size)

        def embed(pixels: Tensor) -> Tensor:
            pooled = self._network.vision_model(pixel_values=pixels).pooler_output
            projected: Tensor = self._network.visual_projection(pooled)
            return projected

        return _embedded(pictures, side, side, (_CLIP_MEAN, _CLIP_STD), embed, self._device)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, d] of texts; what does not fit into the model's length is cut off."""
        length = int(self._network.config.text_config.max_position_embeddings)
        ids = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        pooled = self._network.text_model(**ids.to(self._device)).pooler_output
        return _unit(self._network.text_projection(pooled))


class Dino:
    """A DINO vision transformer, such as facebook/dino-vits16: the class token after the last norm.

    folder: of its weights. Raises ModelError for a folder that is missing or holds something else.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._network = _loaded(folder, "ViTModel", "vit", device)
        self._device = device

    def pictures(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Unit vectors [n, d] of RGB pictures."""
        side = int(self._network.config.image_size)

        def embed(pixels: Tensor) -> Tensor:
            tokens: Tensor = self._network(pixel_values=pixels).last_hidden_state[:, 0]
            return tokens

        resized = round(side * _DINO_RESIZE)
        return _embedded(pictures, resized, side, (_DINO_MEAN, _DINO_STD), embed, self._device)


def _loaded(folder: Path, name: str, kind: str, device: torch.device | str | None) -> Any:
    """A network or a tokenizer (device None) of transformers from a folder; nothing is looked for elsewhere."""
    import transformers

    where = shown_path(folder)
    if not folder.is_dir():
        raise ModelError(f"there is no folder of a {kind} model at {where}")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{where} has no config.json: a folder as transformers saves a {kind} model is needed")
    try:
        found = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if found != kind:
            raise ModelError(f"{where} holds a model of the kind {shown(found)}, a {kind} model is needed")
        if device is None:
            return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
        loaded, info = getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler"))
        if missing:  # transformers would draw them at random
            raise ModelError(f"{where} lacks weights of a {kind} model: {shown(', '.join(missing))}")
    except ModelError:
        raise
    except Exception as error:  # transformers raises many kinds for damaged folders
        raise ModelError(f"{where} cannot be loaded as a {kind} model: {shown(error)}") from error
    return loaded.to(device, torch.float32).eval().requires_grad_(False)


@torch.inference_mode()
def _embedded(
    pictures: Iterable[Image.Image],
    resized: int,
    side: int,
    colors: tuple[Sequence[float], Sequence[float]],
    embed: Callable[[Tensor], Tensor],
    device: torch.device | str,
) -> Tensor:
    left, vectors = iter(pictures), []
    while batch := [prepared(picture, resized, side, *colors) for picture in islice(left, _BATCH)]:
        vectors.append(_unit(embed(torch.stack(batch).to(device))))
    return torch.cat(vectors)


def prepared(picture: Image.Image, resized: int, side: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """An RGB picture as a network sees it: shorter side `resized`, the middle `side` × `side`: [3, side, side]."""
    scale = resized / min(picture.size)
    width, height = (max(resized, round(length * scale)) for length in picture.size)
    larger = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    pixels = np.asarray(larger.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    normalized = (pixels - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return torch.from_numpy(normalized).permute(2, 0, 1)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu()
