"""Adapter files: the nested .bin files that are published, and safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from ..errors import AdapterError, Cones2Error
from ..messages import listed
from ..storage.files import shown_path, write_atomically
from ..storage.tensor_tree import TensorTree, read_tensor_tree
from .adapter import RESAMPLER_HEAD_WIDTH, PictureAdapter, make_adapter

SUFFIXES = (".safetensors", ".bin")
_MAX_BYTES = 8 << 30  # the largest published one has 1.01 GB
_PARTS = ("image_proj", "ip_adapter")

AdapterWeights = dict[str, dict[str, Tensor]]
"""{"image_proj": …, "ip_adapter": …}, as published files hold them and other packs pass them on."""


def load_adapter(path: Path | str, head_width: int = RESAMPLER_HEAD_WIDTH) -> PictureAdapter:
    """The adapter in a file. Raises AdapterError naming the file and what is missing in it."""
    weights = read_adapter_weights(path)
    try:
        return adapter_of(weights, head_width)
    except AdapterError as error:
        raise AdapterError(f"{shown_path(path)} is not an IP-Adapter or MIP-Adapter: {error}") from error


def read_adapter_weights(path: Path | str) -> AdapterWeights:
    """The weights in a file, not checked further. Raises AdapterError for a file that cannot be read."""
    try:
        tree = read_tensor_tree(path, _MAX_BYTES, "image adapter", SUFFIXES)
    except Cones2Error as error:
        raise AdapterError(str(error)) from error
    return {part: _part(tree, part) for part in _PARTS if _part(tree, part)}


def adapter_of(weights: object, head_width: int = RESAMPLER_HEAD_WIDTH) -> PictureAdapter:
    """The adapter of weights from anywhere. Raises AdapterError naming what is missing."""
    given = weights if isinstance(weights, Mapping) else {}
    lacking = [part for part in _PARTS if not isinstance(given.get(part), Mapping) or not given[part]]
    if lacking:
        raise AdapterError(f"it lacks {' and '.join(lacking)} (it has {listed(sorted(map(str, given)))})")
    projection, layers = (
        {str(key): value for key, value in given[part].items() if isinstance(value, Tensor)} for part in _PARTS
    )
    return make_adapter(projection, layers, head_width)


def save_adapter(
    adapter: PictureAdapter, path: Path | str, metadata: Mapping[str, str] | None = None, overwrite: bool = False
) -> Path:
    """Write a .safetensors file in half precision that `load_adapter` and others read; the path.

    Layers are numbered 1, 3, 5, … as published. Raises AdapterError when a number is too large for half precision, the
    file exists (unless `overwrite`) or the disk refuses.
    """
    tensors = {f"image_proj.{name}": weight for name, weight in adapter.projection.items()}
    for index, layer in enumerate(adapter.layers):
        prefix = f"ip_adapter.{2 * index + 1}"
        tensors |= {f"{prefix}.to_k_ip.weight": layer.to_k, f"{prefix}.to_v_ip.weight": layer.to_v}
        if layer.text_to_weight is not None:
            tensors[f"{prefix}.text_to_weight.weight"] = layer.text_to_weight[None]
    half = {name: weight.detach().cpu().half().contiguous() for name, weight in tensors.items()}
    large = [name for name, weight in half.items() if not bool(torch.isfinite(weight).all())]
    if large:
        raise AdapterError(f"{listed(large)} cannot be saved in half precision: a number is too large, or none")
    content = safetensors_bytes(half, {"format": "pt", **(metadata or {})})
    try:
        write_atomically(path, lambda stream: stream.write(content), overwrite)
    except Cones2Error as error:
        raise AdapterError(str(error)) from error
    return Path(path)


def _part(tree: TensorTree, part: str) -> dict[str, Tensor]:
    """The tensors of one part: a dictionary of its own, or the names that begin with it."""
    nested = tree.get(part)
    if isinstance(nested, Mapping):
        return {key: value for key, value in nested.items() if isinstance(value, Tensor)}
    prefix = f"{part}."
    return {
        key.removeprefix(prefix): value
        for key, value in tree.items()
        if key.startswith(prefix) and isinstance(value, Tensor)
    }
