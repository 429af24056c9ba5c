"""An image adapter's weights as values: plain IP-Adapter, "plus", and MIP-Adapter, told apart by their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import AdapterError
from ..messages import listed, shown

_LAYER = re.compile(r"(\d{1,4})\.to_k_ip\.weight")
_RESAMPLER_NUMBER = re.compile(r"layers\.(\d{1,3})\.")
_LINEAR = ("proj.weight", "proj.bias", "norm.weight", "norm.bias")
_RESAMPLER = (
    "latents", "proj_in.weight", "proj_in.bias", "proj_out.weight", "proj_out.bias", "norm_out.weight", "norm_out.bias",
)  # fmt: skip
_RESAMPLER_LAYER = (
    "0.norm1.weight", "0.norm1.bias", "0.norm2.weight", "0.norm2.bias", "0.to_q.weight", "0.to_kv.weight",
    "0.to_out.weight", "1.0.weight", "1.0.bias", "1.1.weight", "1.3.weight",
)  # fmt: skip
_NORM = ("weight", "bias")
_KNOWN_MODELS = {16: "SD 1.x or 2.x", 70: "SDXL"}
RESAMPLER_HEAD_WIDTH = 64


@dataclass(frozen=True, eq=False)
class AdapterLayer:
    """What the adapter adds to one cross-attention layer of width C.

    to_k, to_v: from image tokens to keys and values, [C, d].
    text_to_weight: t of the text factor, [C]; None in adapters without one.
    """

    to_k: Tensor
    to_v: Tensor
    text_to_weight: Tensor | None


@dataclass(frozen=True, eq=False)
class PictureAdapter:
    """An image adapter.

    projection: weights by name that turn an image encoder's features into tokens.
    layers: one per cross-attention layer, in the order of the blocks down, up, middle.
    head_width: of the resampler's attention; 64 in all published ones, not readable from the weights.
    """

    projection: Mapping[str, Tensor]
    layers: tuple[AdapterLayer, ...]
    head_width: int = RESAMPLER_HEAD_WIDTH

    @property
    def is_plus(self) -> bool:
        """Whether a resampler reads the encoder's penultimate states; else a linear layer reads its embedding."""
        return "latents" in self.projection

    @property
    def has_text_factor(self) -> bool:
        """Whether it is a MIP-Adapter, which learned how much picture there is at a position."""
        return self.layers[0].text_to_weight is not None

    @property
    def label(self) -> str:
        """What people call its kind."""
        return ("MIP-Adapter" if self.has_text_factor else "IP-Adapter") + (" plus" if self.is_plus else "")

    @property
    def width(self) -> int:
        """Width d of its image tokens."""
        return int(self.layers[0].to_k.shape[1])

    @property
    def feature_width(self) -> int:
        """Width of the image encoder's features that it reads."""
        return int(self.projection["proj_in.weight" if self.is_plus else "proj.weight"].shape[1])

    def check_layers(self, widths: Sequence[int]) -> None:
        """Raise AdapterError unless a model's cross-attention layers have these widths, in the adapter's order."""
        own = [len(layer.to_k) for layer in self.layers]
        if own == list(widths):
            return
        made_for = _KNOWN_MODELS.get(len(own), "another model")
        if len(own) != len(widths):
            raise AdapterError(
                f"this {self.label} has {len(own)} layers ({made_for}) but the model has {len(widths)} cross-attentions"
            )
        place = next(index for index, pair in enumerate(zip(own, widths, strict=True)) if pair[0] != pair[1])
        raise AdapterError(
            f"layer {place + 1} of this {self.label} is {own[place]} wide but the model's is {widths[place]} wide: "
            "it was made for another model"
        )


def make_adapter(
    projection: Mapping[str, Tensor], layers: Mapping[str, Tensor], head_width: int = RESAMPLER_HEAD_WIDTH
) -> PictureAdapter:
    """The adapter of a file's two dictionaries, `image_proj` and `ip_adapter`.

    Raises AdapterError naming what is missing, has another shape, or is of a kind that is not read.
    """
    _check_projection(projection)
    numbers = sorted(int(match[1]) for key in layers if (match := _LAYER.fullmatch(key)))
    if not numbers:
        raise AdapterError(f"it has no layers (N.to_k_ip.weight): its ip_adapter holds {listed(sorted(layers))}")
    with_factor = any(key.endswith(".text_to_weight.weight") for key in layers)
    adapter = PictureAdapter(projection, tuple(_layer(layers, number, with_factor) for number in numbers), head_width)
    _check_widths(adapter)
    return adapter


def default_scale(adapter: PictureAdapter) -> float:
    """The published scale of its kind."""
    return 0.65 if adapter.is_plus else 0.75


def _layer(layers: Mapping[str, Tensor], number: int, with_factor: bool) -> AdapterLayer:
    names = ["to_k_ip", "to_v_ip", *(["text_to_weight"] if with_factor else [])]
    lacking = [f"{number}.{name}.weight" for name in names if f"{number}.{name}.weight" not in layers]
    if lacking:
        raise AdapterError(f"it lacks {listed(lacking)}")
    to_k, to_v, *factor = (_numbers(f"{number}.{name}.weight", layers[f"{number}.{name}.weight"]) for name in names)
    if to_k.ndim != 2 or to_k.shape != to_v.shape:
        raise AdapterError(f"layer {number} has keys {tuple(to_k.shape)} and values {tuple(to_v.shape)}: two (C, d)")
    if not factor:
        return AdapterLayer(to_k, to_v, None)
    if factor[0].numel() != len(to_k):
        raise AdapterError(f"{number}.text_to_weight.weight has {factor[0].numel()} numbers, expected {len(to_k)}")
    return AdapterLayer(to_k, to_v, factor[0].flatten())


def _numbers(name: str, tensor: Tensor) -> Tensor:
    """The tensor, which has elements, all of them finite floating-point numbers."""
    if not tensor.is_floating_point():
        raise AdapterError(f"{name} holds {tensor.dtype} numbers, expected floating-point ones".replace("torch.", ""))
    if not tensor.numel():
        raise AdapterError(f"{name} has shape {tuple(tensor.shape)}: it is empty")
    if not bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all()):
        raise AdapterError(f"{name} holds values that are not numbers (NaN or infinity)")
    return tensor


def _check_projection(projection: Mapping[str, Tensor]) -> None:
    names = set(projection)
    if any(name.startswith(("proj.0.", "perceiver_resampler.")) for name in names):
        raise AdapterError("it is a face adapter (its projection has several layers), which is not read")
    wanted = [*_RESAMPLER, *_resampler_layers(projection)] if "latents" in names else list(_LINEAR)
    lacking = [f"image_proj.{name}" for name in wanted if name not in names]
    if lacking:
        raise AdapterError(f"it lacks {listed(lacking)}")


def _resampler_layers(projection: Mapping[str, Tensor]) -> list[str]:
    """The names of all weights of the resampler's layers, of which there is at least one."""
    found = [int(match[1]) for name in projection if (match := _RESAMPLER_NUMBER.match(name))]
    return [f"layers.{number}.{name}" for number in range(max(found, default=0) + 1) for name in _RESAMPLER_LAYER]


def _check_widths(adapter: PictureAdapter) -> None:
    projection, width = adapter.projection, adapter.width
    if any(layer.to_k.shape[1] != width for layer in adapter.layers):
        raise AdapterError("its layers take image tokens of different widths")
    shapes = _resampler_shapes(adapter) if adapter.is_plus else _linear_shapes(adapter)
    for name, shape in shapes.items():
        found = tuple(_numbers(f"image_proj.{name}", projection[name]).shape)
        if found != shape:
            raise AdapterError(f"image_proj.{name} has shape {shown(found, 80)}, expected {shape}")


def _linear_shapes(adapter: PictureAdapter) -> dict[str, tuple[int, ...]]:
    """Of a linear projection: to all tokens at once, each of which is normed."""
    width, (rows, features) = adapter.width, _sides(adapter.projection, "proj.weight", 2)
    if rows % width:
        raise AdapterError(f"its projection does not make tokens {width} wide, as its layers take them")
    return {
        **{"proj.weight": (rows, features), "proj.bias": (rows,)},
        **{"norm.weight": (width,), "norm.bias": (width,)},
    }


def _resampler_shapes(adapter: PictureAdapter) -> dict[str, tuple[int, ...]]:
    """Of a resampler: queries [1, Q, C], and per layer attention of inner width A and a feed-forward of width F."""
    projection, width = adapter.projection, adapter.width
    _, queries, own = _sides(projection, "latents", 3)
    _, features = _sides(projection, "proj_in.weight", 2)
    shapes: dict[str, tuple[int, ...]] = {
        **{"latents": (1, queries, own), "proj_in.weight": (own, features), "proj_in.bias": (own,)},
        **{"proj_out.weight": (width, own), "proj_out.bias": (width,)},
        **{"norm_out.weight": (width,), "norm_out.bias": (width,)},
    }
    count = len(_resampler_layers(projection)) // len(_RESAMPLER_LAYER)
    for layer in (f"layers.{number}" for number in range(count)):
        inner, _ = _sides(projection, f"{layer}.0.to_q.weight", 2)
        between, _ = _sides(projection, f"{layer}.1.1.weight", 2)
        if inner % adapter.head_width:
            raise AdapterError(f"image_proj.{layer}.0.to_q.weight is not of heads {adapter.head_width} wide")
        shapes |= {f"{layer}.{name}.{part}": (own,) for name in ("0.norm1", "0.norm2", "1.0") for part in _NORM}
        shapes |= {f"{layer}.0.to_q.weight": (inner, own), f"{layer}.0.to_kv.weight": (2 * inner, own)}
        shapes |= {f"{layer}.0.to_out.weight": (own, inner)}
        shapes |= {f"{layer}.1.1.weight": (between, own), f"{layer}.1.3.weight": (own, between)}
    biases = ((f"{name.removesuffix('weight')}bias", shape) for name, shape in shapes.items() if len(shape) == 2)
    return shapes | {name: shape[:1] for name, shape in biases if name in projection}


def _sides(projection: Mapping[str, Tensor], name: str, count: int) -> tuple[int, ...]:
    """The sides of a weight that must have so many."""
    sides = tuple(projection[name].shape)
    if len(sides) != count:
        raise AdapterError(f"image_proj.{name} has shape {shown(sides, 80)}, expected {count} sides")
    return sides
