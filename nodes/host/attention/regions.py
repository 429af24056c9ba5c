"""Makes concepts' own keys and values act in their regions: three hooks of ComfyUI's model wrappers, as for pictures.

OUTER_SAMPLE makes the cache of the run; CALC_COND_BATCH records which conditionings are of negative prompts, which are
left alone; APPLY_MODEL adds what the regions change to whatever stands in the cross-attention. What is added depends on
queries, prompt and layout alone, so the order of nodes that change the cross-attention does not matter. All concepts of
a model share one hook: where regions overlap they share the positions.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....cones2.custom_diffusion.layers import layer_of, plain_name
from ....cones2.errors import LayoutError, ModelError
from ....cones2.guidance.regional import Projected, RegionalProjections, with_regions
from ..noise_level import noise_sigma
from .call import CALL_KEY, Area, Call
from .chunks import Chunk, Cond, Negative, chunks_of, negative_conds
from .hooks import latent_window
from .unet import Attention, Forward, LayerKey, attend, grid_of, layer_keys, split_heads, with_attention

if TYPE_CHECKING:
    from comfy.model_base import BaseModel
    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider, Sampler

KEY = "cones2_regions"
"""Key of the wrappers in a ModelPatcher, and of the concepts in its transformer_options."""
_RUN, _CALL = f"{KEY}_run", f"{KEY}_call"


def install_regions(model: ModelPatcher, concepts: Sequence[RegionalProjections]) -> ModelPatcher:
    """A clone of the model in which these concepts act in their regions, beside those that do already."""
    clone = model.clone()
    options = clone.model_options["transformer_options"] = {**clone.model_options.get("transformer_options", {})}
    if KEY not in options:
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, start_run)
        clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, record)
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, add_regions)
    options[KEY] = (*options.get(KEY, ()), *concepts)
    return clone


@dataclass(eq=False)
class _Run:
    """What the calls of one sampling run share.

    negative: the conditionings of negative prompts. concepts: all of them where the model is; their parts of the
    picture share the projections.
    """

    negative: Negative | None = None
    concepts: dict[tuple[torch.device, torch.dtype], list[RegionalProjections]] = field(default_factory=dict)

    def concepts_in(self, given: Sequence[RegionalProjections], area: Area | None, text: Tensor) -> Any:
        """The concepts in an area, with projections that a text can be multiplied by."""
        key = (text.device, text.dtype)
        if key not in self.concepts:
            self.concepts[key] = [concept.to(*key) for concept in given]
        return self.concepts[key] if area is None else [concept.crop(*area) for concept in self.concepts[key]]


def start_run(
    executor: WrapperExecutor,
    noise: Tensor,
    latent_image: Tensor,
    sampler: Sampler,
    sigmas: Tensor,
    *more: Any,
    **kwargs: Any,
) -> Any:
    """OUTER_SAMPLE hook."""
    guider: CFGGuider = executor.class_obj
    options = guider.model_options["transformer_options"]
    options[_RUN] = _Run(negative_conds(guider))
    try:
        return executor(noise, latent_image, sampler, sigmas, *more, **kwargs)
    finally:
        options.pop(_RUN, None)


def record(
    executor: WrapperExecutor,
    model: BaseModel,
    conds: Sequence[list[Cond] | None],
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any],
) -> Any:
    """CALC_COND_BATCH hook."""
    options = model_options.get("transformer_options", {})
    run = options.get(_RUN) or _Run()
    if latent_window(options.get("context_window"), (int(x.shape[-2]), int(x.shape[-1])), x.ndim):
        raise LayoutError(
            "a concept cannot keep to its region in context windows over height or width: leave the layout of Apply "
            "Custom Diffusion out, or the context windows"
        )
    known = (run, chunks_of(conds, x, run.negative))
    model_options = {**model_options, "transformer_options": {**options, _CALL: known}}
    return executor(model, conds, x, timestep, model_options)


def add_regions(
    executor: WrapperExecutor,
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Any = None,
    transformer_options: dict[str, Any] = {},  # noqa: B006 (the host's own signature)
    **kwargs: Any,
) -> Any:
    """APPLY_MODEL hook."""
    call: tuple[_Run, Mapping[tuple[int, uuid.UUID], Chunk]] | None = transformer_options.get(_CALL)
    keys = list(zip(transformer_options.get("cond_or_uncond", ()), transformer_options.get("uuids", ()), strict=True))
    chunks = [call[1].get(key) for key in keys] if call else []
    if call is not None and c_crossattn is not None and any(chunk and not chunk.unconditional for chunk in chunks):
        model = executor.class_obj
        guided: Call | None = transformer_options.get(CALL_KEY)
        layouts = [guided.guided.get(key) if guided else None for key in keys]
        sigma = noise_sigma(model.model_sampling, t)
        layer_names = _layer_names(model)
        forward = _Forward(
            transformer_options[KEY],
            call[0],
            chunks,
            c_crossattn,
            layer_names,
            Forward(layouts, sigma, c_crossattn.shape[1]) if any(layouts) else None,
        )
        transformer_options = with_attention(transformer_options, list(layer_names), forward)
    return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


def _layer_names(model: BaseModel) -> dict[LayerKey, str]:
    """What diffusers calls each attn2 layer."""
    blocks = model.model_config.unet_config["num_res_blocks"]
    per_block = int(blocks if isinstance(blocks, int) else blocks[0])
    names = {}
    for key in layer_keys(model.diffusion_model):
        block = "middle_block" if key[0] == "middle" else f"{key[0]}_blocks.{key[1]}"
        name = plain_name(f"{block}.1.transformer_blocks.{key[2]}.attn2.to_k.weight", per_block)
        names[key] = "" if name is None else layer_of(name)
    return names


@dataclass(frozen=True, eq=False)
class _Forward:
    """Cross-attention of one forward pass.

    concepts: of the model. chunks: the conditionings of the batch, in equal parts of it; None for one that is not
    known. context: the prompts [B, L, c]. names: of the layers. layout: what layouts add to the scores, or None.
    """

    concepts: Sequence[RegionalProjections]
    run: _Run
    chunks: Sequence[Chunk | None]
    context: Tensor
    names: Mapping[LayerKey, str]
    layout: Forward | None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], previous: Attention | None) -> Tensor:
        self._check_shapes(q, k, extra)
        total = attend(q, k, v, extra) if previous is None else previous(q, k, v, extra)
        heads, size = extra["n_heads"], q.shape[0] // len(self.chunks)
        bias = None if self.layout is None else self.layout.bias(q, k, extra)
        parts = []
        for number, chunk in enumerate(self.chunks):
            part = slice(number * size, (number + 1) * size)
            if chunk is None or chunk.unconditional:
                parts.append(total[part])
                continue
            own = None if bias is None else bias[part]
            guided = split_heads(attend(q[part], k[part], v[part], extra, own), heads)
            text = self._text(k[part], part)
            q_part, k_part, v_part = (split_heads(each[part], heads) for each in (q, k, v))
            call = Projected(q_part, k_part, v_part, text, own)
            layer = self.names[(*extra["block"], extra["block_index"])]
            subjects = self.run.concepts_in(self.concepts, chunk.area, text)
            changed = with_regions(guided, layer, grid_of(extra), subjects, call)
            parts.append(total[part] + (changed - guided).transpose(1, 2).flatten(2))
        return torch.cat(parts)

    def _text(self, k: Tensor, part: slice) -> Tensor:
        """The prompts of a chunk [B, L, c], zero where other packs have appended columns to the keys."""
        text = self.context[part].to(k.device, k.dtype)
        return torch.nn.functional.pad(text, (0, 0, 0, k.shape[1] - text.shape[1]))

    def _check_shapes(self, q: Tensor, k: Tensor, extra: dict[str, Any]) -> None:
        if len(q) != len(self.context) or q.shape[1] != math.prod(grid_of(extra)) or k.shape[1] < self.context.shape[1]:
            raise ModelError(
                "another node replaces the prompts or merges the positions of the cross-attention, so a concept cannot "
                "keep to its region: remove attention couple, token merging or similar nodes from this model"
            )
