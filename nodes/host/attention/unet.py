"""How a model follows the layouts of its conditionings.

A layout is an ordinary key of a conditioning's dict. Three wrappers on a cloned ModelPatcher read it:
one opens a run, one sees the conditionings of a call and notes whose layout steers now, one sees
which of them a forward pass batches and wraps whatever stands in the model's attn2 replacements.
Nothing is stored outside a run: what a call needs travels in its own transformer_options.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from comfy.ldm.modules import attention as host_attention
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....cones2.errors import ModelError
from ....cones2.guidance.cross_attention import LayoutBias
from ....cones2.guidance.weight_maps import WeightMaps
from ....cones2.sampling.noise import log_growth
from ..bound_layout import GUIDE_KEY, BoundLayout

KEY = "cones2"
OBSERVER_KEY = "cones2_observer"
"""Key of transformer_options for a function that every layer calls with q, k [B, heads, N or L, d], mask
or None, and (height, width)."""
_RUN = "cones2_run"
_CALL = "cones2_call"

LayerKey = tuple[str, int, int]
Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]
Crop = tuple[float, float, float, float]  # top, left, height, width as fractions of the picture


def layer_keys(diffusion_model: Any) -> list[LayerKey]:
    """(block name, block number, index in the transformer) of each attn2 layer of an SD UNet; empty for others."""
    if not hasattr(diffusion_model, "input_blocks") or not hasattr(diffusion_model, "output_blocks"):
        return []
    return list(_unet_layers(diffusion_model))


def _unet_layers(unet: Any) -> Iterator[LayerKey]:
    blocks = [("input", number, block) for number, block in enumerate(unet.input_blocks)]
    blocks += [("middle", 0, unet.middle_block if unet.middle_block is not None else ())]
    blocks += [("output", number, block) for number, block in enumerate(unet.output_blocks)]
    for name, number, block in blocks:
        for layer in block:
            if type(layer) is host_attention.SpatialTransformer:
                for index, transformer in enumerate(layer.transformer_blocks):
                    if transformer.attn2 is not None:
                        yield name, number, index


def with_attention(options: dict[str, Any], keys: Sequence[LayerKey], attention: Any) -> dict[str, Any]:
    """A copy of transformer_options in which each layer calls `attention(q, k, v, extra, previous=...)`."""
    replaced = options.get("patches_replace", {})
    previous = replaced.get("attn2", {})
    attn2 = {key: partial(attention, previous=previous.get(key, previous.get(key[:2]))) for key in keys}
    return {**options, "patches_replace": {**replaced, "attn2": {**previous, **attn2}}}


@dataclass(frozen=True, eq=False)
class Forward:
    """Attention of one forward pass over chunks of equal size, each with its own layout or none.

    sigma: noise level of each batch entry [B]. rows: length of the prompts as the host padded them.
    observer: see OBSERVER_KEY.
    """

    chunks: Sequence[Steered | None]
    sigma: Tensor
    rows: int
    observer: Callable[[Tensor, Tensor, Tensor | None, tuple[int, int]], None] | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], previous: Attention | None) -> Tensor:
        bias = self.bias(q, k, extra) if any(self.chunks) else None
        if self.observer is not None:
            self.observer(split_heads(q, extra["n_heads"]), split_heads(k, extra["n_heads"]), bias, grid_of(extra))
        steered = attend(q, k, v, extra, bias)
        if previous is None:
            return steered
        return steered + previous(q, k, v, extra) - attend(q, k, v, extra)

    def bias(self, q: Tensor, k: Tensor, extra: dict[str, Any]) -> Tensor:
        """Attention mask [B, 1, N, L]; 0 for chunks without layout and for columns that are no prompt's."""
        self._check_shapes(q, k, extra)
        bias = q.new_zeros(q.shape[0], 1, q.shape[1], k.shape[1])
        size = q.shape[0] // len(self.chunks)
        for number, chunk in enumerate(self.chunks):
            if chunk is not None:
                part = slice(number * size, (number + 1) * size)
                bias[part, ..., : self.rows] = self._chunk_bias(chunk, q[part], k[part], self.sigma[part], extra)
        return bias

    def _check_shapes(self, q: Tensor, k: Tensor, extra: dict[str, Any]) -> None:
        """Other packs may append columns; prompts or positions that they replace cannot be told apart here."""
        if len(q) != len(self.sigma) or q.shape[1] != math.prod(grid_of(extra)) or k.shape[1] < self.rows:
            raise ModelError(
                "another node replaces the prompts or merges the positions of the cross-attention, so a layout cannot "
                "steer it: remove attention couple, token merging or similar nodes from this model"
            )

    def _chunk_bias(self, chunk: Steered, q: Tensor, k: Tensor, sigma: Tensor, extra: dict[str, Any]) -> Tensor:
        """The prompt's own rows are judged; the host repeats a shorter prompt to the length of the longest."""
        heads = extra["n_heads"]
        own = chunk.guidance.bias(
            split_heads(q, heads), split_heads(k[:, : chunk.rows], heads), grid_of(extra), log_growth(sigma)
        )
        return own.repeat(1, 1, 1, self.rows // chunk.rows)


def grid_of(extra: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of the layer: position counts alone cannot tell 72 × 128 from 96 × 96."""
    height, width = extra["activations_shape"][-2:]
    return height, width


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, heads · d] as [B, heads, N, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], mask: Tensor | None = None) -> Tensor:
    """The host's attention, with any override of it in force. q, k, v: [B, N or L, heads · d]."""
    attention = host_attention.optimized_attention
    if mask is not None and attention in (host_attention.attention_flash, host_attention.attention_sage):
        attention = host_attention.attention_pytorch  # those two cannot take a mask on every version
    return attention(
        q, k, v, extra["n_heads"], mask=mask, attn_precision=extra.get("attn_precision"), transformer_options=extra
    )
