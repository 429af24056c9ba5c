"""Makes a model follow the layouts of its conditionings.

A layout is an ordinary key of a conditioning's dict. Three hooks: OUTER_SAMPLE creates the per-run cache and
puts photos into the noise where a layout asks for it;
CALC_COND_BATCH records which conditionings are guided at this σ; APPLY_MODEL adds the terms to their
attention, around what other nodes have put there. Nothing is stored outside a run.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from comfy.context_windows import IndexListContextWindow
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....cones2.errors import ModelError
from ....cones2.families.family import known_families
from ....cones2.guidance.terms import LowRankTerm
from ....cones2.sampling.noise import LARGEST_SIGMA, log_growth
from ..bound_layout import LAYOUT_KEY, BoundLayout
from ..noise_level import noise_sigma
from ..photo_start import with_photos
from ..prompt_record import PROMPT_KEY
from .call import CALL_KEY, RUN_KEY, WATCH_KEY, Area, Call, Guided, LatentWindow, Run, Watch
from .places import is_known, pads_left, place_of
from .transformer import OVERRIDE_KEY, Steering, check_pictures, with_steering
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

    Raises ModelError when neither its cross-attention nor its place in the table of transformers is known.
    """
    if not layer_keys(model.model.diffusion_model) and not is_known(model.model):
        raise ModelError(
            f"{type(model.model).__name__} is not a class of models that a layout can steer: use a model of one of the "
            f"families {known_families()}"
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
    watch: Watch | None = options.get(WATCH_KEY)
    makes_picture = watch is None or watch.layout is not None
    if not layouts and makes_picture:
        log.warning("%s", _no_layout([cond for conds in guider.conds.values() for cond in conds]))
    options[RUN_KEY] = Run((noise.shape[-2], noise.shape[-1]), noise)
    if makes_picture:  # who only looks at one starts from none
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
    window = latent_window(options.get("context_window"), run.size, x.ndim)
    sigma, run_sigmas = float(timestep.flatten()[0]), options.get("sample_sigmas")
    guided: dict[tuple[int, uuid.UUID], Guided] = {}
    for index, entries in enumerate(conds):
        for cond, owner, layout in _with_layouts(entries or []):
            area = area_of(cond.get("area"), x.shape[-2:])
            part = layout, window, area
            active = layout.active(sigma, run_sigmas, model.model_sampling)
            pictures = run.pictures_of(*part) if layout.guidance_weight else None  # looks are read in all steps
            if active or pictures is not None:
                known = _guided(run.terms_of(*part) if active else (), layout, owner, model)
                whole = layout if active and not (window or area) else None
                guided[index, cond["uuid"]] = replace(
                    known, pictures=pictures, whole=whole, closed=layout.closed, picture_rows=layout.picture_rows
                )
    if guided or CALL_KEY in options:
        model_options = {**model_options, "transformer_options": {**options, CALL_KEY: Call(guided)}}
    return executor(model, conds, x, timestep, model_options)


def _guided(terms: Sequence[LowRankTerm], layout: BoundLayout, owner: Cond, model: BaseModel) -> Guided:
    """What is known of a guided conditioning. Raises ModelError when its prompt was shortened since."""
    length = _prompt(owner).shape[1]
    offset = length - owner["cross_attn"].shape[1] if pads_left(model) else 0
    if is_known(model) and max(layout.own, default=0) + offset >= length:
        raise ModelError(
            f"another node shortened this prompt to {length} tokens after its layout was bound to its words: apply the "
            "layout after that node"
        )
    return Guided(terms, length, layout.own, offset)


def _with_layouts(entries: Sequence[Cond]) -> Iterator[tuple[Cond, Cond, BoundLayout]]:
    """The conditionings of a list that run a prompt with a layout, each with the one whose prompt it runs, and that
    one's layout.

    ComfyUI pairs each area conditioning with an entry at the end of the other list. That entry copies the area and uuid
    but uses the other list's largest prompt, so it must use that prompt's layout.
    """
    for place, cond in enumerate(entries):
        owner = next((entry for entry in entries[:place] if _runs_prompt_of(cond, entry)), cond)
        layout = owner.get(LAYOUT_KEY)
        if layout is not None and "c_crossattn" in owner["model_conds"]:
            yield cond, owner, layout


def _runs_prompt_of(cond: Cond, owner: Cond) -> bool:
    """Whether a conditioning runs another one's prompt instead of the one it was made from.

    The host then gives both the same object. A context window over a batch of prompts slices each for itself, so equal
    prompts of unequal conditionings count too. What a model's class makes of a conditioning tells nothing: it may pad
    or replace its own.
    """
    prompt, other = (entry["model_conds"].get("c_crossattn") for entry in (cond, owner))
    if prompt is None or other is None or prompt is other:
        return prompt is not None and prompt is other
    if prompt.cond is cond.get("cross_attn"):
        return False
    return _equal(prompt.cond, other.cond) and not _equal(cond.get("cross_attn"), owner.get("cross_attn"))


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    return one.shape == other.shape and torch.equal(one, other)


def _prompt(cond: Cond) -> Tensor:
    """The encoded prompt that a conditioning really runs, as the model's class has changed it."""
    prompt: Tensor = cond["model_conds"]["c_crossattn"].cond
    return prompt


def latent_window(window: Any, size: tuple[int, int] | None, dims: int) -> LatentWindow | None:
    """The part of latents of some size that a context window over their height or width, the last two of so many
    dimensions, shows; None for any other."""
    if size is None or not isinstance(window, IndexListContextWindow) or window.dim not in (dims - 2, dims - 1):
        return None
    before = getattr(window, "causal_anchor_index", None)  # the host puts this one in front, to cut it off later
    indices = window.index_list if before is None or before < 0 else [before, *window.index_list]
    axis: Literal[0, 1] = 0 if window.dim == dims - 2 else 1
    return LatentWindow(axis, tuple(indices), size[axis])


def area_of(area: Sequence[int] | None, size: Sequence[int]) -> Area | None:
    """An area (sizes, then starts, in latent cells; height and width last), cut to the picture as the host does."""
    if area is None:
        return None
    full_height, full_width = size
    (height, width), (top, left) = area[: len(area) // 2][-2:], area[-2:]
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
    """APPLY_MODEL hook: wraps the attention of a forward pass that runs a guided conditioning."""
    call = transformer_options.get(CALL_KEY)
    keys = zip(transformer_options.get("cond_or_uncond", ()), transformer_options.get("uuids", ()), strict=True)
    chunks = [call.guided.get(key) for key in keys] if call else []
    watch = transformer_options.get(WATCH_KEY)
    if c_crossattn is None or not (any(chunks) or watch):
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
    model, rows = executor.class_obj, c_crossattn.shape[1]
    sigma = noise_sigma(model.model_sampling, t)
    if layers := layer_keys(model.diffusion_model):
        check_pictures(chunks, ())
        options = with_attention(transformer_options, layers, Forward(chunks, sigma, rows, watch))
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
    growth, place = log_growth(sigma.clamp_max(LARGEST_SIGMA)), place_of(model, x, rows, kwargs)
    check_pictures(chunks, place.references)
    steering = Steering(
        chunks or [None], growth, place, transformer_options.get(OVERRIDE_KEY),
        (transformer_options.get(RUN_KEY) or Run()).trust, watch and _shifted(watch, model, rows),
    )  # fmt: skip
    out = executor(x, t, c_concat, c_crossattn, control, with_steering(transformer_options, steering), **kwargs)
    steering.check_used()
    return out


def _shifted(watch: Watch, model: BaseModel, rows: int) -> Watch:
    return watch._replace(offset=rows - watch.rows) if pads_left(model) else watch
