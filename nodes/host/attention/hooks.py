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


