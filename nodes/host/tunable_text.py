"""The host's text encoder for training: a float32 copy that can be tuned, or the loaded one as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch
from comfy.clip_model import CLIPLayer
from torch import Tensor, nn

from ...cones2.prompt.conditioning import Conditioning
from .delta_clip import with_words
from .differentiable import cast_copy

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP


class TunableText:
    """A float32 copy of a CLIP's text encoder whose forward pass can be differentiated.

    weights: its parameters by name.
    """

    def __init__(self, clip: CLIP) -> None:
        patcher = own_casting(clip.patcher)
        with torch.inference_mode():
            comfy.model_management.load_models_gpu([patcher])
        self._clip = clip
        self._encoder = copy.deepcopy(patcher.model)
        for loaded, part in zip(patcher.model.modules(), self._encoder.modules(), strict=True):
            _detach(part, loaded, patcher.load_device)
        self._encoder.reset_clip_options()
        if clip.layer_idx is not None:
            self._encoder.set_clip_options({"layer": clip.layer_idx})
        self._encoder.set_clip_options({"execution_device": patcher.load_device})
        self.weights = dict(self._encoder.named_parameters())

    def token_table(self, encoder: str) -> Tensor:
        """The input embeddings of one text encoder, [vocabulary, d] float32."""
        table: Tensor = getattr(self._encoder, f"clip_{encoder}").transformer.get_input_embeddings().weight
        return table

    def with_words(self, words: Mapping[str, Mapping[str, Tensor]]) -> TunableText:
        """The same encoder frozen, with words of one's own whose vectors learn; see `delta_clip.with_words`."""
        for weight in self.weights.values():
            weight.requires_grad_(False)
        knowing = copy.copy(self)
        knowing._clip = with_words(self._clip, words)
        return knowing

    def __call__(self, prompt: str) -> Conditioning:
        embeds, pooled = self._encoder.encode_token_weights(self._clip.tokenize(prompt))[:2]
        return Conditioning(embeds, pooled)


def frozen_text(clip: CLIP) -> Callable[[str], Conditioning]:
    """The loaded text encoder as a function of the prompt, without gradients."""

    def encode(prompt: str) -> Conditioning:
        with torch.inference_mode():
            embeds, pooled = clip.encode_from_tokens(clip.tokenize(prompt), return_pooled=True)
        return Conditioning(embeds.clone(), None if pooled is None else pooled.clone())

    return encode


def own_casting(model: ModelPatcher) -> ModelPatcher:
    """The model with the host's older way of loading, where it can give one.

    The newer one maps weights in and out behind PyTorch's back, even between a forward and its backward pass.
    """
    if model.is_dynamic() and model.cached_patcher_init is not None:
        return model.clone(disable_dynamic=True)
    return model


def _detach(part: Any, loaded: nn.Module, device: torch.device) -> None:
    """Give a copied module weights of its own, and a forward pass that changes nothing in place."""
    for tensors in (part._parameters, part._buffers):
        for name, tensor in tensors.items():
            if tensor is not None:
                tensors[name] = _independent(tensor, device)
    if getattr(part, "weight_function", None) or getattr(part, "bias_function", None):
        _bake_patches(loaded, part, device)
    if isinstance(part, CLIPLayer):
        part.forward = MethodType(_layer_out_of_place, part)


def _layer_out_of_place(
    self: CLIPLayer, x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None
) -> Tensor:
    """The host's layer adds in place, which autograd refuses."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    out: Tensor = x + self.mlp(self.layer_norm2(x))
    return out


def _independent(tensor: Tensor, device: torch.device) -> Tensor:
    """A normal tensor with the values of an inference tensor; floats become float32 parameters."""
    if not isinstance(tensor, nn.Parameter):
        return tensor.to(device, copy=True)
    return nn.Parameter(tensor.detach().to(device, torch.float32, copy=True), requires_grad=True)


def _bake_patches(loaded: nn.Module, part: Any, device: torch.device) -> None:
    """Put into a copied layer's weights what the host would add to them at each call."""
    with torch.no_grad():
        weight, bias = cast_copy(loaded, torch.empty(0, device=device))
    part.weight = nn.Parameter(weight)
    if bias is not None:
        part.bias = nn.Parameter(bias)
    part.weight_function, part.bias_function = [], []
