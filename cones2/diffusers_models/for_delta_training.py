"""A model of diffusers components as Custom Diffusion's training sees it; the model itself is left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..custom_diffusion.base import attention_weights
from ..custom_diffusion.layers import is_key_or_value
from ..training.concepts import START_PIECES, start_ids
from ..training.config import TrainedAttention
from ..training.model import TrainingModel
from .deltas import with_token_rows
from .for_training import training_model
from .latent_model import DiffusersModel
from .modifier_tokens import table_of
from .path_copies import with_module
from .text import ClipText


class TrainedLinear(nn.Linear):
    """A projection that learns in float32 among layers of another number format."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, L, in] to [B, L, out], in the input's number format."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class StartStopped(TrainedLinear):
    """A projection of the text whose first row gives no gradient: the start token's is the same in all prompts."""

    def forward(self, input: Tensor) -> Tensor:
        """As any projection."""
        output = super().forward(input)
        return torch.cat([output[:, :1].detach(), output[:, 1:]], 1)


def delta_training_model(
    model: DiffusersModel,
    tokens: Sequence[str],
    rows: Sequence[nn.Parameter],
    attention: TrainedAttention,
    checkpointing: bool = False,
) -> TrainingModel:
    """The model's callables with float32 copies of the attention weights, and words of one's own, that learn.

    tokens: the words. rows: their values [n, d] for each text encoder, see `start_rows`.
    """
    text = with_token_rows(model.text, tokens, rows) if tokens else model.text
    chosen = {
        name: nn.Parameter(weight.float().clone())
        for name, weight in attention_weights(model.unet.named_parameters()).items()
        if attention == "all" or is_key_or_value(name)
    }
    unet = model.unet
    for name, weight in chosen.items():
        if name.endswith(".weight"):
            path = name.rpartition(".")[0]
            unet = with_module(unet, path, _trained(name, weight, chosen.get(f"{path}.bias")))
    networks = training_model(replace(model, text=text, unet=unet), "custom-diffusion", checkpointing)
    return replace(networks, attention_weights=chosen, token_rows=tuple(rows) if tokens else ())


def start_rows(text: ClipText, tokens: Sequence[str], starts: Sequence[str] = START_PIECES) -> list[nn.Parameter]:
    """The first values [n, d] of the words' rows, for each text encoder.

    starts: pieces of the vocabulary. Raises ConfigError as `start_ids` does.
    """
    parts = []
    for tokenizer, encoder in zip(text.tokenizers, text.encoders, strict=True):
        chosen = start_ids(tokenizer.get_vocab(), tokens, starts)
        table = table_of(encoder).weight
        parts.append(nn.Parameter(table[chosen].detach().float().clone()))
    return parts


def _trained(name: str, weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    kind = StartStopped if is_key_or_value(name) else TrainedLinear
    layer = kind(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = weight
    layer.bias = bias  # type: ignore[assignment]  # a layer may have none
    return layer
