"""The attention weights of a base model, read from its files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..errors import Cones2Error, DeltaError
from ..messages import listed
from ..storage.files import find_file, is_folder, read_limited, shown_path
from ..storage.tensor_tree import read_tree_file
from .layers import plain_name

_MAX_BYTES = 32 << 30
_MAX_CONFIG = 1 << 20
_UNET_FILE = "diffusion_pytorch_model"
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_SUFFIXES = (".safetensors", ".bin", ".ckpt")


@dataclass(frozen=True, eq=False)
class BaseWeights:
    """What a delta needs of the model that it is for.

    weights: of all cross-attention layers, by diffusers name.
    layers_per_block: of the UNet.
    """

    weights: Mapping[str, Tensor]
    layers_per_block: int = 2


def attention_weights(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The cross-attention weights among a UNet's, by diffusers name."""
    return {name: weight.detach() for key, weight in named if (name := plain_name(key)) is not None}


def load_base_weights(path: Path | str) -> BaseWeights:
    """The attention weights in a diffusers folder, or in a checkpoint file in either naming.

    Raises DeltaError when there are none, or the file cannot be read.
    """
    path = Path(path)
    files, per_block = _in_folder(path) if is_folder(path) else ([path], 2)
    weights: dict[str, Tensor] = {}
    for file in files:
        found, counted = _read(file)
        per_block = counted or per_block
        weights |= {name: tensor for key, tensor in found.items() if (name := plain_name(key, per_block)) is not None}
    if not weights:
        raise DeltaError(
            f"{shown_path(path)} has no cross-attention weights: give the base model's folder or checkpoint"
        )
    return BaseWeights(weights, per_block)


def _in_folder(folder: Path) -> tuple[list[Path], int]:
    """The UNet's files in a diffusers folder, and how many layers its blocks have."""
    try:
        unet = folder / "unet" if (folder / "unet").is_dir() else folder
        for suffix in (".safetensors", ".bin"):
            files = _one_variant(unet, suffix)
            if files:
                return files, _layers_per_block(unet / "config.json")
        names = sorted(child.name for child in folder.iterdir())
    except OSError as error:
        raise DeltaError(f"{shown_path(folder)} cannot be read: {error.strerror or error}") from error
    raise DeltaError(f"{shown_path(folder)} holds no UNet (unet/diffusion_pytorch_model.safetensors): {listed(names)}")


def _one_variant(unet: Path, suffix: str) -> list[Path]:
    """The files of one set of weights: the plain one, else its shards, else those of the first variant such as fp16."""
    names = sorted(path.name for path in unet.glob(f"{_UNET_FILE}*{suffix}"))
    sets: dict[str, list[Path]] = {}
    for name in names:
        sets.setdefault(_SHARD.sub("", name), []).append(unet / name)
    plain = f"{_UNET_FILE}{suffix}"
    if plain in names:
        return [unet / plain]
    return sets.get(plain) or next(iter(sets.values()), [])


def _layers_per_block(config: Path) -> int:
    try:
        value = json.loads(read_limited(config, _MAX_CONFIG, "model's config")).get("layers_per_block", 2)
    except (Cones2Error, ValueError, AttributeError):
        return 2
    return value if isinstance(value, int) and 1 <= value <= 4 else 2


def _read(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """The attention weights of a file by its own keys, and the layers per block that CompVis' numbers count."""
    if path.suffix == ".safetensors":
        try:
            find_file(path, "base model", _SUFFIXES)
        except Cones2Error as error:
            raise DeltaError(str(error)) from error
        try:
            with safe_open(path, "pt") as file:
                keys = list(file.keys())
                return {key: file.get_tensor(key) for key in keys if "attn2" in key}, _counted(keys)
        except Exception as error:  # safetensors raises several kinds for damaged files
            raise DeltaError(f"{shown_path(path)} is not a whole safetensors file") from error
    try:
        entries = read_tree_file(path, _MAX_BYTES, "base model", _SUFFIXES).tree
    except Cones2Error as error:
        raise DeltaError(str(error)) from error
    inner = entries.get("state_dict")
    state = inner if isinstance(inner, Mapping) else entries
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}, _counted(state)


def _counted(keys: Iterable[str]) -> int | None:
    """Layers per block of a CompVis checkpoint: its first resampling stands right behind the first block."""
    known = set(keys)
    for number in range(2, 6):
        if any(key.endswith(f"input_blocks.{number}.0.op.weight") for key in known):
            return number - 1
    return None
