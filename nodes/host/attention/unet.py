"""The cross-attention layers of ComfyUI's Stable Diffusion UNets, with terms added to their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from comfy.ldm.modules import attention as host_attention
from torch import Tensor, nn

from ....cones2.errors import ModelError
from ....cones2.guidance.terms import total_bias
from ....cones2.sampling.noise import log_growth
from .call import Guided, Watch

LayerKey = tuple[str, int, int]
Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


def layer_keys(diffusion_model: nn.Module) -> list[LayerKey]:
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
    """Cross-attention of one forward pass.

    chunks: the conditionings of the batch, in equal parts of it; None for one that is not guided.
    sigma: noise level of each batch entry [B].
    length: tokens of the prompts as the host padded them.
    watch: who else wants to see each layer.
    """

    chunks: Sequence[Guided | None]
    sigma: Tensor
    length: int
    watch: Watch | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], previous: Attention | None) -> Tensor:
        bias = self.bias(q, k, extra) if any(self.chunks) else None
        if self.watch is not None:
            self.show(self.watch, q, k, bias, extra)
        guided = attend(q, k, v, extra, bias)
        if previous is None:
            return guided
        return guided + previous(q, k, v, extra) - attend(q, k, v, extra)

    def show(self, watch: Watch, q: Tensor, k: Tensor, bias: Tensor | None, extra: dict[str, Any]) -> None:
        """Let the watch see the entries of the batch that it is for."""
        part = watch.part_of(self.chunks, len(q))
        if part is None:
            return
        heads, own = extra["n_heads"], None if bias is None else bias[part]
        watch.observe(split_heads(q[part], heads), split_heads(k[part], heads), own, grid_of(extra))

    def bias(self, q: Tensor, k: Tensor, extra: dict[str, Any]) -> Tensor:
        """Attention mask [B, 1, N, L]; 0 for chunks that are not guided and for columns that belong to no prompt."""
        self._check_shapes(q, k, extra)
        bias = q.new_zeros(q.shape[0], 1, q.shape[1], k.shape[1])
        size = q.shape[0] // len(self.chunks)
        for number, chunk in enumerate(self.chunks):
            if chunk is not None:
                part = slice(number * size, (number + 1) * size)
                bias[part, ..., : self.length] = self._chunk_bias(chunk, q[part], k[part], self.sigma[part], extra)
        return bias

    def _check_shapes(self, q: Tensor, k: Tensor, extra: dict[str, Any]) -> None:
        """Other packs may append columns. Prompts or positions that they replace cannot be identified here."""
        if len(q) != len(self.sigma) or q.shape[1] != math.prod(grid_of(extra)) or k.shape[1] < self.length:
            raise ModelError(
                "another node replaces the prompts or merges the positions of the cross-attention, so a layout cannot "
                "steer it: remove attention couple, token merging or similar nodes from this model"
            )

    def _chunk_bias(self, chunk: Guided, q: Tensor, k: Tensor, sigma: Tensor, extra: dict[str, Any]) -> Tensor | float:
        """The bias is computed for the prompt's own tokens, then tiled: ComfyUI repeats a short prompt to match
        the longest."""
        heads = extra["n_heads"]
        own = total_bias(
            chunk.terms, split_heads(q, heads), split_heads(k[:, : chunk.length], heads), grid_of(extra),
            log_growth(sigma),
        )  # fmt: skip
        return 0.0 if own is None else own.repeat(1, 1, 1, self.length // chunk.length)


def grid_of(extra: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of the layer: position counts alone cannot distinguish 72 × 128 from 96 × 96."""
    height, width = extra["activations_shape"][-2:]
    return height, width


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, heads · d] as [B, heads, N, d]."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], mask: Tensor | None = None) -> Tensor:
    """The host's attention, with any override of it in force. q, k, v: [B, N or L, heads · d]."""
    attention = host_attention.optimized_attention
    if mask is not None and attention in (host_attention.attention_flash, host_attention.attention_sage):
        attention = host_attention.attention_pytorch  # those two cannot take a mask on every version
    out: Tensor = attention(
        q, k, v, extra["n_heads"], mask=mask, attn_precision=extra.get("attn_precision"), transformer_options=extra
    )
    return out
