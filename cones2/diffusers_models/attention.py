"""Cross-attention of a diffusers UNet under layout guidance: installed for a run, always taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..guidance.cross_attention import guided_attention
from ..guidance.heat_maps import Observer
from ..guidance.regional import Projected, RegionalProjections, with_regions
from ..guidance.terms import AddedPart, AttentionTerm, total_bias


@dataclass
class ForwardState:
    """What the patched layers do in the current forward pass.

    terms: what changes the attention of the positive entries; none for plain attention.
    growth: of the noise level, a number or [images].
    positive: the batch entries of the positive prompt.
    observer: called by each layer with these.
    pictures: what subjects' pictures add to every layer; None for nothing.
    regional: subjects' own keys and values in their regions, for the positive entries.
    taken: how many layers took terms so far.
    """

    terms: Sequence[AttentionTerm] = ()
    growth: float | Tensor = 0.0
    positive: slice = field(default_factory=lambda: slice(None))
    observer: Observer | None = None
    pictures: AddedPart | None = None
    regional: Sequence[RegionalProjections] = ()
    taken: int = 0

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int]) -> Tensor | None:
        """Mask [B, 1, N, L] of one layer, 0 for entries that are not positive; None without terms."""
        total = total_bias(self.terms, q[self.positive], k[self.positive], grid, self.growth)
        if total is None:
            return None
        self.taken += 1
        bias = q.new_zeros(q.shape[0], 1, q.shape[2], k.shape[2])
        bias[self.positive] = total
        return bias

    def in_regions(self, out: Tensor, layer: str, grid: tuple[int, int], call: Projected) -> Tensor:
        """The attention [B, heads, N, d] with subjects' own keys and values in their regions."""
        if not self.regional:
            return out
        entries = self.positive
        bias = None if call.bias is None else call.bias[entries]
        own = Projected(call.q[entries], call.k[entries], call.v[entries], call.text[entries], bias)
        changed = out.clone()
        changed[entries] = with_regions(out[entries], layer, grid, self.regional, own)
        return changed


class GuidedAttnProcessor:
    """A diffusers attention processor for one cross-attention layer (`attn2`).

    number: of the layer among all, in the order of the blocks down, up, middle. name: in the UNet.
    """

    def __init__(self, state: ForwardState, number: int = 0, name: str = "") -> None:
        self.grid = (0, 0)  # set before each forward of the layer
        self._state, self._number, self._name = state, number, name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q = self._split(attn.to_q(hidden_states), attn.heads)
        k = self._split(attn.to_k(context), attn.heads)
        v = self._split(attn.to_v(context), attn.heads)
        bias = self._state.bias(q, k, self.grid)
        if self._state.observer is not None:
            positive = self._state.positive
            seen = None if bias is None else bias[positive]
            self._state.observer(q[positive], k[positive], seen, self.grid)
        guided = guided_attention(q, k, v, bias)
        out = self._state.in_regions(guided, self._name, self.grid, Projected(q, k, v, context, bias))
        out = out.transpose(1, 2).flatten(2)
        if self._state.pictures is not None:  # their text factor reads the attention that no term has changed
            plain = (guided if bias is None else guided_attention(q, k, v, None)).transpose(1, 2).flatten(2)
            out = out + self._state.pictures.added(self._number, attn, q, plain, self.grid)
        out = attn.to_out[1](attn.to_out[0](out))
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor  # type: ignore[no-any-return]

    @staticmethod
    def _split(x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


class GuidedLayers:
    """Every cross-attention layer of a UNet2DConditionModel, patched to read `state` while in a block.

    Raises ModelError when the UNet has no cross-attention over image positions.
    """

    def __init__(self, unet: nn.Module, state: ForwardState) -> None:
        names = {module: name for name, module in unet.named_modules()}
        self._layers = [
            (transformer, attn, GuidedAttnProcessor(state, number, names[attn]))
            for number, (transformer, attn) in enumerate(cross_attention_layers(unet))
        ]
        if not self._layers:
            raise ModelError(
                f"{type(unet).__name__} has no cross-attention layers: layout guidance needs a UNet "
                "of SD 1.x, SD 2.x or SDXL"
            )

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The original processors are back afterwards, also after an exception. May be entered again."""
        originals = [(attn, attn.processor) for _, attn, _ in self._layers]
        hooks = []
        try:
            for transformer, attn, processor in self._layers:
                hooks.append(transformer.register_forward_pre_hook(_grid_reader(processor), with_kwargs=True))
                attn.set_processor(processor)
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for attn, original in originals:
                attn.set_processor(original)


@contextmanager
def guided_unet(unet: nn.Module, state: ForwardState) -> Iterator[ForwardState]:
    """The UNet with its layers patched to read `state`; see `GuidedLayers`."""
    with GuidedLayers(unet, state).installed():
        yield state


def cross_attention_layers(unet: nn.Module) -> Iterator[tuple[nn.Module, Any]]:
    """(enclosing transformer, attention) of each layer that attends from image to text.

    In diffusers' order of the blocks: down, up, middle.
    """
    for module in unet.modules():
        for block in getattr(module, "transformer_blocks", None) or ():
            if getattr(block, "attn2", None) is not None:
                yield module, block.attn2


def _grid_reader(processor: GuidedAttnProcessor) -> Callable[[nn.Module, Any, dict[str, Any]], None]:
    """A pre-hook that notes (height, width): position counts alone cannot tell 72 × 128 from 96 × 96."""

    def read(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden: torch.Tensor = args[0] if args else kwargs["hidden_states"]
        processor.grid = (hidden.shape[-2], hidden.shape[-1])

    return read
