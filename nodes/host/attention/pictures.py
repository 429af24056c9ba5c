"""Makes a model see its subjects' pictures: three hooks of ComfyUI's model wrappers, as for layouts.

OUTER_SAMPLE checks the subjects' names against the prompts and makes the cache of the run; CALC_COND_BATCH records
which conditionings are unconditional and which part of the picture each is for; APPLY_MODEL adds the pictures to
whatever stands in the cross-attention. What is added depends on queries and prompt alone, so the order of nodes that
change the cross-attention does not matter. Nothing is stored outside a run.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from comfy.ldm.modules import attention as host_attention
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....cones2.errors import LayoutError, ModelError
from ....cones2.picture_adapter.adapter import PictureAdapter
from ....cones2.picture_adapter.attention import even_weights, name_weights, picture_part, unconditional_part
from ....cones2.picture_adapter.references import LayerPictures, References
from ....cones2.picture_adapter.shares import RegionShares
from ..bound_layout import Window
from ..prompt_record import PROMPT_KEY, check_known
from .call import Area
from .chunks import Chunk, Cond, chunks_of, negative_conds
from .hooks import latent_window
from .unet import Attention, LayerKey, attend, grid_of, layer_keys, split_heads, with_attention

if TYPE_CHECKING:
    from comfy.model_base import BaseModel
    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider, Sampler

KEY = "cones2_pictures"
"""Beginning of the key of one adapter's wrappers in a ModelPatcher, and of what it knows in transformer_options."""


def install_pictures(model: ModelPatcher, references: References, window: Window) -> ModelPatcher:
    """A clone of the model that sees the pictures, beside those that it sees already."""
    clone, hooks = model.clone(), PictureHooks(references, window)
    if not references.adds_nothing:
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, hooks.key, hooks.start_run)
        clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, hooks.key, hooks.record)
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, hooks.key, hooks.add_pictures)
    return clone


def adapter_layers(model: ModelPatcher, adapter: PictureAdapter) -> int:
    """Width of the text that the model's cross-attentions read.

    Raises ModelError for a model without them, AdapterError for an adapter of another model.
    """
    layers = list(_cross_attentions(model.model.diffusion_model).values())
    if not layers:
        raise ModelError(
            f"{type(model.model).__name__} has no cross-attention layers that pictures could be added to: use an SDXL, "
            "SD 1.x or SD 2.x model"
        )
    adapter.check_layers([layer.to_q.out_features for layer in layers])
    return int(layers[0].to_k.in_features)


def _cross_attentions(unet: Any) -> dict[LayerKey, Any]:
    """The attn2 layers in the adapters' order of the blocks: down, up, middle."""
    found = {}
    for key in sorted(layer_keys(unet), key=lambda key: ("input", "output", "middle").index(key[0])):
        name, number, index = key
        block = unet.middle_block if name == "middle" else getattr(unet, f"{name}_blocks")[number]
        transformer = next(layer for layer in block if type(layer) is host_attention.SpatialTransformer)
        found[key] = transformer.transformer_blocks[index].attn2
    return found


@dataclass(eq=False)
class _Run:
    """What the calls of one sampling run share.

    negative: the conditionings of negative prompts.
    layers: of each layer the pictures' keys and values, and the names' keys; the latter from the model's weights.
    shares: the layout's, of each part of the picture.
    """

    negative: frozenset[uuid.UUID] | None = None
    layers: dict[LayerKey, tuple[LayerPictures, list[Tensor]]] = field(default_factory=dict)
    shares: dict[Area | None, RegionShares] = field(default_factory=dict)


@dataclass(eq=False)
class _Call:
    """One calc_cond_batch: what is known of its conditionings, by their list's index and their uuid."""

    run: _Run
    chunks: Mapping[tuple[int, uuid.UUID], Chunk]


class PictureHooks:
    """The hooks of one adapter with its references."""

    def __init__(self, references: References, window: Window) -> None:
        self._references, self._window = references, window
        self.key = f"{KEY}_{uuid.uuid4().hex}"
        self._run_key = f"{self.key}_run"

    def start_run(
        self,
        executor: WrapperExecutor,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Sampler,
        sigmas: Tensor,
        *more: Any,
        **kwargs: Any,
    ) -> Any:
        """OUTER_SAMPLE hook. Raises PromptError for a subject that is in none of the prompts."""
        guider: CFGGuider = executor.class_obj
        prompts = [conds for name, conds in guider.conds.items() if "negative" not in name]
        records = [cond.get(PROMPT_KEY) for conds in prompts for cond in conds]
        if records and all(record is not None for record in records):  # prompts of other nodes do not know their words
            check_known(records, self._references.subjects)
        options = guider.model_options["transformer_options"]
        options[self._run_key] = _Run(negative_conds(guider))
        try:
            return executor(noise, latent_image, sampler, sigmas, *more, **kwargs)
        finally:
            options.pop(self._run_key, None)

    def record(
        self,
        executor: WrapperExecutor,
        model: BaseModel,
        conds: Sequence[list[Cond] | None],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> Any:
        """CALC_COND_BATCH hook."""
        options = model_options.get("transformer_options", {})
        run = options.get(self._run_key) or _Run()
        sigma = float(timestep.flatten()[0])
        if self._window.contains(sigma, options.get("sample_sigmas"), model.model_sampling):
            size = (int(x.shape[-2]), int(x.shape[-1]))
            if self._references.shares is not None and latent_window(options.get("context_window"), size, x.ndim):
                raise LayoutError(
                    "subjects from pictures cannot follow a layout in context windows over height or width: "
                    "leave the layout of Apply MIP-Adapter out, or the context windows"
                )
            chunks = chunks_of(conds, x, run.negative)
            model_options = {**model_options, "transformer_options": {**options, self.key: _Call(run, chunks)}}
        return executor(model, conds, x, timestep, model_options)

    def add_pictures(
        self,
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
        call: _Call | None = transformer_options.get(self.key)
        keys = zip(transformer_options.get("cond_or_uncond", ()), transformer_options.get("uuids", ()), strict=True)
        chunks = [call.chunks.get(key) for key in keys] if call else []
        if call is not None and c_crossattn is not None and any(chunk is not None for chunk in chunks):
            modules = _cross_attentions(executor.class_obj.diffusion_model)
            forward = _Forward(self._references, call.run, chunks, modules)
            transformer_options = with_attention(transformer_options, list(modules), forward)
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


@dataclass(frozen=True, eq=False)
class _Forward:
    """Cross-attention of one forward pass.

    chunks: the conditionings of the batch, in equal parts of it; None for one that is not known.
    modules: the attn2 layers in the adapters' order.
    """

    references: References
    run: _Run
    chunks: Sequence[Chunk | None]
    modules: Mapping[LayerKey, Any]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], previous: Attention | None) -> Tensor:
        self._check_shapes(q, extra)
        text = attend(q, k, v, extra)
        total = text if previous is None else previous(q, k, v, extra)
        layer, name_keys = self._of_layer((*extra["block"], extra["block_index"]), q)
        heads, size = split_heads(q, extra["n_heads"]), q.shape[0] // len(self.chunks)
        added = []
        for number, chunk in enumerate(self.chunks):
            part = slice(number * size, (number + 1) * size)
            added.append(
                text.new_zeros(text[part].shape)
                if chunk is None
                else self._added(chunk, heads[part], text[part], layer, name_keys, grid_of(extra))
            )
        return total + torch.cat(added)

    def _check_shapes(self, q: Tensor, extra: dict[str, Any]) -> None:
        """Pictures cannot be shown to prompts that other packs replace, nor placed on positions that they merge."""
        moved = self.references.shares is not None and q.shape[1] != math.prod(grid_of(extra))
        if moved or q.shape[0] % len(self.chunks):
            raise ModelError(
                "another node replaces the prompts or merges the positions of the cross-attention, so pictures cannot "
                "be added to it: remove attention couple, token merging or similar nodes from this model"
            )

    def _added(
        self,
        chunk: Chunk,
        q: Tensor,
        text: Tensor,
        layer: LayerPictures,
        name_keys: Sequence[Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        references = self.references
        shares = self._shares(chunk.area)
        r = None if shares is None else shares.at(*grid, device=q.device)
        if chunk.unconditional:
            weights = even_weights(len(name_keys), r, q.shape[2], q.device)
            return unconditional_part(q, text, layer, weights, references.strengths, references.scale)
        weights = name_weights(q, name_keys, r)
        return picture_part(q, text, layer, weights, references.strengths, references.scale)

    def _shares(self, area: Area | None) -> RegionShares | None:
        shares = self.references.shares
        if shares is None or area is None:
            return shares
        return self.run.shares.setdefault(area, shares.crop(*area))

    def _of_layer(self, key: LayerKey, q: Tensor) -> tuple[LayerPictures, list[Tensor]]:
        """Keys and values of the pictures, and the keys of the names; computed in the run's first pass."""
        found = self.run.layers.get(key)
        if found is None or found[0].keys.device != q.device or found[0].keys.dtype != q.dtype:
            number = list(self.modules).index(key)
            names = [self.modules[key].to_k(rows.to(q.device, q.dtype)) for rows in self.references.name_rows]
            found = self.references.layers[number].to(q.device, q.dtype), names
            self.run.layers[key] = found
        return found
