"""From an image encoder's features to an adapter's image tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AdapterError
from .adapter import PictureAdapter

_EXPECTED = {1280: " (OpenCLIP ViT-bigG/14)", 1024: " (OpenCLIP ViT-H/14)"}
_EXPECTED_PLUS = {1280: " (OpenCLIP ViT-H/14)", 1664: " (OpenCLIP ViT-bigG/14)"}


def project(adapter: PictureAdapter, features: Tensor) -> Tensor:
    """Image tokens [B, T, d] float32 of pictures.

    features: the encoder's projected embedding [B, f] for linear projections, its penultimate hidden states
    [B, patches + 1, f] (without the final norm) for a resampler.
    Raises AdapterError for features of another width, as another image encoder gives them.
    """
    check_features(adapter, features)
    weights = {name: tensor.float() for name, tensor in adapter.projection.items()}
    features = features.to(next(iter(weights.values())).device, torch.float32)
    if adapter.is_plus:
        return _resampled(weights, features, adapter.head_width)
    tokens = F.linear(features, weights["proj.weight"], weights["proj.bias"]).view(len(features), -1, adapter.width)
    return _norm(weights, "norm", tokens)


def check_features(adapter: PictureAdapter, features: Tensor) -> None:
    """Raise AdapterError for features that the adapter does not read."""
    wanted, names = adapter.feature_width, _EXPECTED_PLUS if adapter.is_plus else _EXPECTED
    if features.shape[-1] != wanted:
        raise AdapterError(
            f"this {adapter.label} reads image features {wanted} wide{names.get(wanted, '')}, but this image encoder "
            f"gives {features.shape[-1]}{names.get(features.shape[-1], '')}: load the image encoder it was made with"
        )
    if not torch.isfinite(features).all():
        raise AdapterError("the image encoder gives values that are not numbers (NaN or infinity)")


def _resampled(weights: dict[str, Tensor], features: Tensor, head_width: int) -> Tensor:
    """Learned queries that read the features layer after layer (the Perceiver resampler of IP-Adapter plus)."""
    states = _linear(weights, "proj_in", features)
    queries = weights["latents"].expand(len(features), -1, -1)
    layer = 0
    while f"layers.{layer}.0.to_q.weight" in weights:
        queries = queries + _read(weights, f"layers.{layer}.0", states, queries, head_width)
        queries = queries + _feed_forward(weights, f"layers.{layer}.1", queries)
        layer += 1
    return _norm(weights, "norm_out", _linear(weights, "proj_out", queries))


def _read(weights: dict[str, Tensor], name: str, states: Tensor, queries: Tensor, head_width: int) -> Tensor:
    """Attention of the queries to the states and to themselves; both are normed."""
    seen, own = _norm(weights, f"{name}.norm1", states), _norm(weights, f"{name}.norm2", queries)
    keys, values = _linear(weights, f"{name}.to_kv", torch.cat([seen, own], 1)).chunk(2, -1)
    q, k, v = (
        part.reshape(*part.shape[:-1], -1, head_width).transpose(1, 2)
        for part in (_linear(weights, f"{name}.to_q", own), keys, values)
    )
    return _linear(weights, f"{name}.to_out", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _feed_forward(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return _linear(weights, f"{name}.3", F.gelu(_linear(weights, f"{name}.1", _norm(weights, f"{name}.0", x))))


def _linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def _norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])
