"""Makes a model follow the layouts of its conditionings.

A layout is an ordinary key of a conditioning's dict. Three hooks: OUTER_SAMPLE creates the per-run cache and
puts photos into the noise where a layout asks for it;
CALC_COND_BATCH records which conditionings are guided at this σ; APPLY_MODEL adds the terms to their
cross-attention, around existing attn2 patches. Nothing is stored outside a run.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from comfy.context_windows import IndexListContextWindow
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....cones2.errors import ModelError
from ..bound_layout import LAYOUT_KEY, BoundLayout
from ..photo_start import with_photos
from ..prompt_record import PROMPT_KEY
from .call import CALL_KEY, OBSERVER_KEY, RUN_KEY, Area, Call, Guided, LatentWindow, Run
from .unet import Forward, layer_keys, with_attention

if TYPE_CHECKING:
    from comfy.model_base import BaseModel
    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider, Sampler

log = logging.getLogger(__name__)

KEY = "cones2"
"""Key of the pack's wrappers in a ModelPatcher."""

Cond = dict[str, Any]


def install(model: ModelPatcher) -> ModelPatcher:
    """A clone of the model that follows layouts; a model that already does is only cloned.

    Raises ModelError when it has no text cross-attention of the SD kind.
    """
    if not layer_keys(model.model.diffusion_model):
        raise ModelError(
            f"{type(model.model).__name__} has no cross-attention layers that a layout could steer: use an SD 1.x, "
            "SD 2.x or SDXL model"
        )
    clone = model.clone()
    if not follows_layouts(clone):
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, start_run)
        clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, record_guided)
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, add_terms)
    return clone


def follows_layouts(model: ModelPatcher) -> bool:
    """Whether the model follows the layouts of its conditionings."""
    return bool(model.get_wrappers(WrappersMP.APPLY_MODEL, KEY))


def layouts_of_run(guider: CFGGuider) -> list[BoundLayout]:
    """The layouts of all conditionings that a guider samples with."""
    found = [cond.get(LAYOUT_KEY) for conds in guider.conds.values() for cond in conds]
    return [layout for layout in dict.fromkeys(found) if layout is not None]


def start_run(
    executor: WrapperExecutor,
    noise: Tensor,
    latent_image: Tensor,
    sampler: Sampler,
    sigmas: Tensor,
    denoise_mask: Tensor | None = None,
    callback: Any = None,
    disable_pbar: bool = False,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """OUTER_SAMPLE hook: gives the run a cache of its own, which ends with it, and its photos to the noise."""
    guider = executor.class_obj
    options = guider.model_options["transformer_options"]
    layouts = layouts_of_run(guider)
    for bound in layouts:
        bound.layout.warn_if_stretched(*noise.shape[-2:])
    if not layouts and OBSERVER_KEY not in options:
        log.warning("%s", _no_layout([cond for conds in guider.conds.values() for cond in conds]))
    options[RUN_KEY] = Run((noise.shape[-2], noise.shape[-1]), noise)
    if OBSERVER_KEY not in options:  # who only looks at a picture starts from none
        noise = with_photos(guider, noise, latent_image, sigmas, denoise_mask, seed)
    return executor(noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **kwargs)


def _no_layout(conds: Sequence[Cond]) -> str:
    """What to say when a model that follows layouts samples without any."""
    told = "this model follows layouts, but no conditioning carries one, so the picture is made without: "
    if any(_is_joined(cond) for cond in conds):
        return told + (
            "Conditioning Concat keeps the layout of conditioning_to only, so connect the prompt with the layout there"
        )
    return told + "connect the conditioning output of Apply Layout Guidance to the sampler too"


def _is_joined(cond: Cond) -> bool:
    """Whether a conditioning is longer than the prompt it remembers, as Conditioning Concat makes it."""
    record, prompt = cond.get(PROMPT_KEY), cond.get("cross_attn")
    return record is not None and prompt is not None and prompt.shape[1] > record.tokens.length


def record_guided(
    executor: WrapperExecutor,
    model: BaseModel,
    conds: Sequence[list[Cond] | None],
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any],
) -> Any:
    """CALC_COND_BATCH hook: tells the forward passes of this call which conditionings are guided."""
    options = model_options.get("transformer_options", {})
    run = options.get(RUN_KEY) or Run()
    window = _latent_window(options.get("context_window"), run.size)
    sigma, run_sigmas = float(timestep.flatten()[0]), options.get("sample_sigmas")
    guided: dict[tuple[int, uuid.UUID], Guided] = {}
    for index, entries in enumerate(conds):
        for cond, layout, prompt in _with_layouts(entries or []):
            if layout.active(sigma, run_sigmas, model.model_sampling):
                terms = run.terms_of(layout, window, _area(cond.get("area"), x.shape[-2:]))
                guided[index, cond["uuid"]] = Guided(terms, prompt.shape[1])
    if guided or CALL_KEY in options:
        model_options = {**model_options, "transformer_options": {**options, CALL_KEY: Call(guided)}}
    return executor(model, conds, x, timestep, model_options)


def _with_layouts(entries: Sequence[Cond]) -> Iterator[tuple[Cond, BoundLayout, Tensor]]:
    """The conditionings of a list that run a prompt with a layout, each with that layout and that prompt.

    ComfyUI pairs each area conditioning with an entry in the other list. That entry copies the area and uuid
    but uses the other list's largest prompt, so it must use that prompt's layout.
    """
    layouts = {id(_prompt(cond)): cond.get(LAYOUT_KEY) for cond in entries if _runs_own_prompt(cond)}
    for cond in entries:
        prompt = _prompt(cond)
        layout = cond.get(LAYOUT_KEY) if _runs_own_prompt(cond) else layouts.get(id(prompt))
        if layout is not None and prompt is not None:
            yield cond, layout, prompt


def _prompt(cond: Cond) -> Tensor | None:
    """The encoded prompt that a conditioning really runs; None for one without text."""
    return getattr(cond["model_conds"].get("c_crossattn"), "cond", None)


def _runs_own_prompt(cond: Cond) -> bool:
    """Whether a conditioning runs the prompt it was made from.

    Equal tensors count too: a context window over a batch of prompts slices both references, each for itself.
    """
    prompt, own = _prompt(cond), cond.get("cross_attn")
    if prompt is None or own is None or prompt is own:
        return prompt is own
    return prompt.shape == own.shape and torch.equal(prompt, own)


def _latent_window(window: Any, size: tuple[int, int] | None) -> LatentWindow | None:
    """The part of latents of some size that a context window over their height or width shows; None for any other."""
    if size is None or not isinstance(window, IndexListContextWindow) or window.dim not in (2, 3):
        return None
    before = getattr(window, "causal_anchor_index", None)  # the host puts this one in front, to cut it off later
    indices = window.index_list if before is None or before < 0 else [before, *window.index_list]
    axis: Literal[0, 1] = 0 if window.dim == 2 else 1
    return LatentWindow(axis, tuple(indices), size[axis])


def _area(area: Sequence[int] | None, size: Sequence[int]) -> Area | None:
    """An area (height, width, top, left in latent cells), cut to the picture as the host does."""
    if area is None:
        return None
    full_height, full_width = size
    (height, width), (top, left) = area[:2], area[len(area) // 2 :][:2]
    return Area(
        top / full_height,
        left / full_width,
        min(height, full_height - top) / full_height,
        min(width, full_width - left) / full_width,
    )


def add_terms(
    executor: WrapperExecutor,
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Any = None,
    transformer_options: dict[str, Any] = {},  # noqa: B006 (the host's own signature)
    **kwargs: Any,
) -> Any:
    """APPLY_MODEL hook: wraps the cross-attention of a forward pass that runs a guided conditioning."""
    call = transformer_options.get(CALL_KEY)
    keys = zip(transformer_options.get("cond_or_uncond", ()), transformer_options.get("uuids", ()), strict=True)
    chunks = [call.guided.get(key) for key in keys] if call else []
    observer = transformer_options.get(OBSERVER_KEY)
    if c_crossattn is not None and (any(chunks) or observer):
        forward = Forward(chunks, t, c_crossattn.shape[1], observer)
        transformer_options = with_attention(
            transformer_options, layer_keys(executor.class_obj.diffusion_model), forward
        )
    return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
