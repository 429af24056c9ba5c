"""The attention of ComfyUI's diffusion transformers, with terms added to their scores.

They have no place for a replacement of their own as UNets have. What they have is one slot in transformer_options that
every attention call goes through ("optimized_attention_override"). It is taken for one forward pass, around whatever
other nodes have put there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ....cones2.errors import ModelError
from ....cones2.guidance.features import Closing, Placed, runs, with_features
from .call import Guided, Watch
from .places import Place
from .probe import Attend, Trust, name_of

OVERRIDE_KEY = "optimized_attention_override"
STEERING_KEY = "cones2_steering"
"""Key of transformer_options that holds the Steering of a forward pass."""


def with_steering(options: dict[str, Any], steering: Steering) -> dict[str, Any]:
    """A copy of transformer_options in which every attention call goes through `steering`."""
    return {**options, OVERRIDE_KEY: steer, STEERING_KEY: steering}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def steer(function: Attend, *args: Any, **kwargs: Any) -> Tensor:
    """The override. One function for all runs, outside of compiled graphs: a compiler would record its tensors as
    constants, or compile anew for each forward pass."""
    steering: Steering = kwargs["transformer_options"][STEERING_KEY]
    return steering(function, *args, **kwargs)


class _Call(NamedTuple):
    """An attention call with split heads: q, k, v [B, heads, T, d]. options: all else that it was given."""

    q: Tensor
    k: Tensor
    v: Tensor
    keeps_heads: bool
    options: dict[str, Any]


def _read(
    q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, attn_precision: Any = None,
    skip_reshape: bool = False, skip_output_reshape: bool = False, **options: Any,
) -> _Call:  # fmt: skip
    """An attention call, whichever way the host's models write it; some give heads to v alone."""
    if not skip_reshape:
        q, k, v = (x.unflatten(-1, (heads, -1)) if x.ndim == 3 else x for x in (q, k, v))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return _Call(q, k, v, skip_output_reshape, {**options, "mask": mask, "attn_precision": attn_precision})


@dataclass(eq=False)
class Steering:
    """The attention of one forward pass.

    chunks: the conditionings of the batch, in equal parts of it; None for one that is not guided.
    growth: of the noise level of each batch entry [B]. place: where the prompt stands. rows: its tokens.
    previous: the override of other nodes. trust: what steered calls may use. watch: what wants to see each layer.
    calls: how many calls had the place so far.
    """

    chunks: Sequence[Guided | None]
    growth: Tensor
    place: Place
    previous: Callable[..., Tensor] | None
    trust: Trust
    watch: Watch | None = None
    calls: int = 0

    def __call__(self, function: Attend, *args: Any, **kwargs: Any) -> Tensor:
        attend: Attend = function if self.previous is None else partial(self.previous, function)
        q, k = (kwargs.get(name, args[place] if place < len(args) else None) for place, name in enumerate("qk"))
        if q is None or k is None or not self._is_here(q, k):
            return attend(*args, **kwargs)
        self.calls += 1
        call = _read(*args, **kwargs)
        placed, closings = self._changes(call.q, call.k)
        if self.watch is not None:
            self._show(self.watch, call, placed)
        if not placed:
            return attend(*args, **kwargs)
        attend = self.trust.choose(attend, name_of(self.previous or function), call.q, self.place.joint)
        return self._joint(attend, call, placed, closings) if self.place.joint else self._cross(attend, call, placed)

    def check_used(self) -> None:
        """Raise ModelError when no call had the place: the picture would have been made without its layout."""
        if not self.calls:
            raise ModelError(
                "no attention call of this model was one of its picture with its prompt, so no layout can steer it: "
                "remove nodes that merge tokens or install an attention of their own from this model"
            )

    def _is_here(self, q: Tensor, k: Tensor) -> bool:
        lengths = (q.shape[-2], k.shape[-2])
        return len(q) == len(self.growth) and lengths == (self.place.queries, self.place.keys)

    def _changes(self, q: Tensor, k: Tensor) -> tuple[list[Placed], list[Closing]]:
        """The gains of each guided chunk, and what of it is closed. A deviation is over the picture's cells and the
        prompt's own tokens, or the bound pictures'."""
        placed: list[Placed] = []
        closings: list[Closing] = []
        size = len(q) // len(self.chunks)
        cells = slice(self.place.cell, self.place.cell + self.place.grid[0] * self.place.grid[1])
        for number, chunk in enumerate(self.chunks):
            if chunk is None:
                continue
            batch, first = slice(number * size, (number + 1) * size), self.place.token + chunk.offset
            own = torch.cat([k[batch, :, run] for run in runs(chunk.own, first)], 2)
            for term in chunk.terms:
                gains = term.gains(q[batch, :, cells], own, self.place.grid, self.growth[batch])
                placed.append(Placed(gains, batch, self.place.cell, first))
                if "words" in chunk.closed:
                    closings.append(Closing(*placed[-1]))
            if chunk.pictures is not None:
                parts = [self.place.references[number - 1] for number in chunk.pictures.pictures]
                bound = torch.cat([k[batch, :, part.start : part.stop] for part in parts], 2)
                rows = [chunk.picture_rows[number - 1 : number] for number in chunk.pictures.pictures]
                tokens = [_with_rows(part, row, first) for part, row in zip(parts, rows, strict=True)]
                gains = chunk.pictures.gains(q[batch, :, cells], bound, self.place.grid, tokens)
                placed.append(Placed(gains, batch, self.place.cell, 0))
                if "references" in chunk.closed:
                    closings.append(Closing(*placed[-1], apart=True))
        return placed, closings

    def _joint(self, attend: Attend, call: _Call, placed: Sequence[Placed], closings: Sequence[Closing]) -> Tensor:
        width = call.q.shape[-1]
        options = {"scale": width**-0.5, **call.options}
        extended = with_features(call.q, call.k, call.v, placed, closings)
        out = attend(*extended, call.q.shape[1], skip_reshape=True, skip_output_reshape=True, **options)[..., :width]
        return out if call.keeps_heads else out.transpose(1, 2).flatten(2)

    def _cross(self, attend: Attend, call: _Call, placed: Sequence[Placed]) -> Tensor:
        own: Tensor | None = call.options["mask"]
        bias = self._mask(call, placed)
        options = {**call.options, "mask": bias if own is None else bias + _additive(own, bias)}
        return attend(
            call.q, call.k, call.v, call.q.shape[1], skip_reshape=True, skip_output_reshape=call.keeps_heads, **options
        )

    def _mask(self, call: _Call, placed: Sequence[Placed]) -> Tensor:
        """The gains as a mask [B, 1, N, L] of a cross-attention call."""
        mask = call.q.new_zeros(len(call.q), 1, self.place.queries, self.place.keys)
        scale = call.options.get("scale", call.q.shape[-1] ** -0.5)
        for gains, batch, _, token in placed:
            mask[batch, ..., token:] += gains.mask(self.place.keys - token, scale, mask.dtype)
        return mask

    def _show(self, watch: Watch, call: _Call, placed: Sequence[Placed]) -> None:
        """Let what watches see the cells, and the keys in such an order that the prompt's come first."""
        part = watch.part_of(self.chunks, len(call.q))
        if part is None:
            return
        bias = None if self.place.joint or not placed else self._mask(call, placed)
        q, k = call.q, call.k
        if self.place.joint and placed:
            q, k, _ = with_features(q, k, call.v, placed)
        scale = (q.shape[-1] / call.q.shape[-1]) ** 0.5  # who watches divides by the root of the width that it sees
        cells = slice(self.place.cell, self.place.cell + self.place.grid[0] * self.place.grid[1])
        k = k[part].roll(-self.place.token - watch.offset, 2)
        watch.observe(q[part, :, cells] * scale, k, None if bias is None else bias[part], self.place.grid)


def _with_rows(tokens: range, rows: Sequence[range], first: int) -> Sequence[int]:
    """A picture's tokens, after its rows in the prompt, which starts at `first`."""
    return [*(first + row for part in rows for row in part), *tokens] if rows else tokens


def check_pictures(chunks: Sequence[Guided | None], references: Sequence[range]) -> None:
    """Raise ModelError when a layout binds a reference picture that the run does not have."""
    numbers = [number for chunk in chunks if chunk and chunk.pictures for number in chunk.pictures.pictures]
    if max(numbers, default=0) > len(references):
        raise ModelError(
            f"the layout binds reference picture {max(numbers)}, but this run has {len(references)}: give an edit "
            "model (Flux.1 Kontext, Flux.2, Qwen-Image-Edit) its pictures with Reference Latent, and Krea 2 also a "
            "method with Edit Model Reference Method"
        )


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as one that is added, and that broadcasts with [B, 1, N, L]."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, torch.finfo(like.dtype).min)
    return mask if mask.ndim == 4 else mask.unsqueeze(-3)
