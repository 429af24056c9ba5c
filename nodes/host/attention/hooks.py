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


@dataclass(eq=False)
class Run:
    """What is shared between the calls of one sampling run: resized weight maps."""

    maps: dict[tuple[BoundLayout, Crop | None], WeightMaps] = field(default_factory=dict)

    def maps_of(self, guide: BoundLayout, crop: Crop | None) -> WeightMaps:
        key = (guide, crop)
        if key not in self.maps:
            self.maps[key] = guide.maps.copy() if crop is None else guide.maps.crop(*crop)
        return self.maps[key]


@dataclass(frozen=True, eq=False)
class Steered:
    """A conditioning whose layout steers in the present call. rows: the length of its own prompt."""

    guidance: LayoutBias
    rows: int


@dataclass(frozen=True, eq=False)
class Call:
    """The steered conditionings of one calc_cond_batch, by their list's index and their uuid."""

    steered: Mapping[tuple[int, uuid.UUID], Steered]


def install(model: Any) -> Any:
    """A clone of the model that follows layouts; a model that already does is only cloned.

    Raises ModelError when it has no text cross-attention of the SD kind.
    """
    if not layer_keys(model.model.diffusion_model):
        raise ModelError(
            f"{type(model.model).__name__} has no cross-attention layers that a layout could steer: use an SD 1.x, "
            f"SD 2.x or SDXL model"
        )
    clone = model.clone()
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, open_run),
        (WrappersMP.CALC_COND_BATCH, note_layouts),
        (WrappersMP.APPLY_MODEL, steer_forward),
    ):
        if not clone.get_wrappers(kind, KEY):
            clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


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


def open_run(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
    """OUTER_SAMPLE wrapper: gives the run a place for its resized maps, which ends with it."""
    guider = executor.class_obj
    guides = run_guides(guider)
    for guide in guides:
        guide.layout.warn_if_stretched(*noise.shape[-2:])
    guider.model_options["transformer_options"][_RUN] = Run()
    return executor(noise, *args, **kwargs)


def run_guides(guider: Any) -> list[BoundLayout]:
    """The layouts of all conditionings that a guider samples with."""
    found = [cond.get(GUIDE_KEY) for conds in guider.conds.values() for cond in conds]
    return [guide for guide in dict.fromkeys(found) if guide is not None]


def note_layouts(
    executor: Any, model: Any, conds: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any]
) -> Any:
    """CALC_COND_BATCH wrapper: tells the forward passes of this call which conditionings a layout steers."""
    options = model_options.get("transformer_options", {})
    guided = [(index, *pair) for index, entries in enumerate(conds) for pair in _guided(entries or ())]
    steered = _steered(guided, x, timestep, model.model_sampling, options) if guided else {}
    if steered or _CALL in options:
        model_options = {**model_options, "transformer_options": {**options, _CALL: Call(steered)}}
    return executor(model, conds, x, timestep, model_options)


def _guided(entries: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], BoundLayout]]:
    """The conditionings of a list that run a prompt with a layout.

    For an area conditioning of one list the host puts a twin into the other: a copy of its keys and
    uuid that runs the widest prompt of that other list, and so follows the layout of that prompt.
    """
    own = {
        id(cond.get("cross_attn")): cond.get(GUIDE_KEY) for cond in entries if _prompt(cond) is cond.get("cross_attn")
    }
    guides = [
        cond.get(GUIDE_KEY) if _prompt(cond) is cond.get("cross_attn") else own.get(id(_prompt(cond)))
        for cond in entries
    ]
    return [(cond, guide) for cond, guide in zip(entries, guides, strict=True) if guide is not None]


def _prompt(cond: dict[str, Any]) -> Tensor | None:
    """The encoded prompt that a conditioning really runs; None for one without text."""
    return getattr(cond["model_conds"].get("c_crossattn"), "cond", None)


def _steered(
    guided: Sequence[tuple[int, dict[str, Any], BoundLayout]],
    x: Tensor,
    timestep: Tensor,
    model_sampling: Any,
    options: dict[str, Any],
) -> dict[tuple[int, uuid.UUID], Steered]:
    """Those of the conditionings with a layout whose layout steers at the noise level of this call."""
    run, sigma, found = options.get(_RUN) or Run(), float(timestep.flatten()[0]), {}
    for index, cond, guide in guided:
        if guide.active(sigma, options.get("sample_sigmas"), model_sampling):
            maps = run.maps_of(guide, _crop(cond.get("area"), x.shape[-2:]))
            found[index, cond["uuid"]] = Steered(LayoutBias(maps, guide.guidance_weight), _prompt(cond).shape[1])
    return found


def _crop(area: Sequence[int] | None, size: Sequence[int]) -> Crop | None:
    """An area (height, width, top, left in latent cells), cut to the picture as the host does, as fractions."""
    if area is None:
        return None
    (height, width), (top, left) = size, area[2:4]
    return top / height, left / width, min(area[0], height - top) / height, min(area[1], width - left) / width


def steer_forward(
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Any = None,
    transformer_options: dict[str, Any] = {},  # noqa: B006 (the host's own signature)
    **kwargs: Any,
) -> Any:
    """APPLY_MODEL wrapper: wraps the cross-attention of a forward pass that runs a steered conditioning."""
    call = transformer_options.get(_CALL)
    keys = zip(transformer_options.get("cond_or_uncond", ()), transformer_options.get("uuids", ()), strict=True)
    chunks = [call.steered.get(key) for key in keys] if call else []
    observer = transformer_options.get(OBSERVER_KEY)
    if any(chunks) or observer:
        forward = Forward(chunks, t, c_crossattn.shape[1], observer)
        transformer_options = with_attention(
            transformer_options, layer_keys(executor.class_obj.diffusion_model), forward
        )
    return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


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
