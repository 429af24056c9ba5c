"""Backpropagates through the host's frozen networks without changing or retaining any of their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from comfy.ldm.modules.attention import SpatialTransformer, attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.ops import cast_bias_weight, uncast_bias_weight
from torch import Tensor, nn
from torch.nn import functional, grad
from torch.utils.checkpoint import checkpoint

_LAYERS = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@contextmanager
def differentiable(network: nn.Module, checkpointing: bool) -> Iterator[None]:
    """Inside, gradients flow through the loaded network to its inputs; afterwards it is as it was.

    The host loads weights in inference mode. Autograd cannot save such tensors, so each is replaced by a normal
    tensor that shares its memory. Layers the host casts per call are cast again in the backward pass.
    checkpointing: blocks recompute their activations in the backward pass.
    """
    with ExitStack() as undo:
        for part in network.modules():
            _alias(part._parameters, undo)
            _alias(part._buffers, undo)
            if isinstance(part, _LAYERS) and part.weight is not None and _is_cast(part):
                replace_forward(part, _cast_again, undo)
            if checkpointing and isinstance(part, ResBlock | SpatialTransformer):
                replace_forward(part, _recomputed, undo)
        for block in _transformer_blocks(network) if checkpointing else ():
            replace_forward(block, _recomputed_block, undo)
        yield


def own_attention() -> dict[str, Any]:
    """transformer_options with PyTorch's own attention: some of those a host can be started with have no gradient."""
    return {"optimized_attention_override": _attention}


def _attention(_: Any, *args: Any, **options: Any) -> Tensor:
    out: Tensor = attention_pytorch(*args, **options)
    return out


def _transformer_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a diffusion transformer: what its own lists hold, one after the other. UNets have theirs nested."""
    if not any(isinstance(part, SpatialTransformer) for part in network.modules()):
        lists = [part for part in network.modules() if isinstance(part, nn.ModuleList)]
        nested = {id(inner) for outer in lists for block in outer for inner in block.modules()}
        yield from (block for outer in lists if id(outer) not in nested for block in outer)


def cast_copy(layer: Any, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer as the host computes with them, patches included: copies that stay valid."""
    weight, bias, stream = cast_bias_weight(layer, like, offloadable=True)
    copies = weight.detach().clone(), None if bias is None else bias.detach().clone()
    uncast_bias_weight(layer, weight, bias, stream)
    return copies


def _is_cast(layer: Any) -> bool:
    functions = getattr(layer, "weight_function", None) or getattr(layer, "bias_function", None)
    return bool(getattr(layer, "comfy_cast_weights", False) or functions)


class _CastLayer(torch.autograd.Function):
    """A layer whose weight exists only during the call: the host reuses one buffer for all such layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, call: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            ctx.save_for_backward(x)
        return call(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        layer = ctx.layer
        weight, bias = cast_copy(layer, gradient)
        if isinstance(layer, nn.Linear):
            return gradient @ weight, None, None
        if isinstance(layer, nn.Conv2d):
            places = (layer.stride, layer.padding, layer.dilation, layer.groups)
            return grad.conv2d_input(ctx.shape, weight, gradient, *places), None, None
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_(True)
            if isinstance(layer, nn.GroupNorm):
                y = functional.group_norm(x, layer.num_groups, weight, bias, layer.eps)
            elif isinstance(layer, nn.RMSNorm):
                y = functional.rms_norm(x, tuple(layer.normalized_shape), weight, layer.eps)
            else:
                y = functional.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
            return torch.autograd.grad(y, x, gradient)[0], None, None


def _cast_again(layer: nn.Module, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x: _CastLayer.apply(x, layer, forward)  # type: ignore[no-untyped-call]


def _recomputed(_: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        # the host changes its options' dict from block to block: computed again, a block must find its own
        own = [dict(value) if type(value) is dict else value for value in args]
        named: dict[str, Any] = {name: dict(value) if type(value) is dict else value for name, value in options.items()}
        return checkpoint(forward, *own, use_reentrant=False, **named)

    return call


def _recomputed_block(_: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """As `_recomputed`, of a transformer's block, which may add in place to what it is given and to what it has saved.

    Computed again it is an ordinary forward pass, in which autograd's own rules for tensors that change hold.
    """

    def call(*args: Any, **options: Any) -> Any:
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(options)
        moving = [name for name, value in given.items() if torch.is_tensor(value) and value.requires_grad]
        if not moving:
            return forward(*args, **options)
        still = {name: _own(value) for name, value in given.items() if name not in moving}

        def compute(*tensors: Tensor) -> Any:
            found = {name: _own(value) for name, value in still.items()}
            found |= {name: tensor.clone() for name, tensor in zip(moving, tensors, strict=True)}
            placed = [found.pop(place) for place in range(len(args))]
            return forward(*placed, **cast(dict[str, Any], found))

        return checkpoint(compute, *(given[name] for name in moving), use_reentrant=True)

    return call


def _own(value: Any) -> Any:
    """A value that nobody else changes."""
    if torch.is_tensor(value):
        return value.clone()
    return dict(value) if type(value) is dict else value


def replace_forward(
    part: Any, wrap: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]], undo: ExitStack
) -> None:
    """Give one module another forward function, until `undo` is closed."""
    own = part.__dict__.get("forward")  # another pack's, perhaps
    part.forward = wrap(part, part.forward)
    undo.callback(partial(part.__dict__.pop, "forward") if own is None else partial(setattr, part, "forward", own))


def _alias(tensors: dict[str, Any], undo: ExitStack) -> None:
    """Replace tensors that autograd refuses or would follow by frozen ones over the same memory."""
    for name, tensor in list(tensors.items()):
        if type(tensor) not in (Tensor, nn.Parameter) or not (tensor.is_inference() or tensor.requires_grad):
            continue
        alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
        is_weight = isinstance(tensor, nn.Parameter)
        tensors[name] = nn.Parameter(alias, requires_grad=False) if is_weight else alias
        undo.callback(partial(tensors.__setitem__, name, tensor))
