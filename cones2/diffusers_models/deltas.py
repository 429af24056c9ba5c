"""Custom Diffusion deltas on a model of diffusers components; the model itself is left as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..custom_diffusion.base import attention_weights
from ..custom_diffusion.delta import Delta, ModifierToken, renamed_apart
from ..custom_diffusion.fit import applied_weights
from ..custom_diffusion.merge import TextRows
from ..prompt.tokens import CHUNK_CONTENT
from .latent_model import DiffusersModel
from .modifier_tokens import ExtendedEmbedding, embedding_name, table_of, token_rows
from .path_copies import with_module, with_parameters
from .text import ClipText


@dataclass(frozen=True, eq=False)
class DeltaUse:
    """A delta and how much of it: factors on its weights' differences and on its tokens' vectors."""

    delta: Delta
    strength: float = 1.0
    token_strength: float = 1.0


def with_deltas(model: DiffusersModel, uses: Sequence[DeltaUse]) -> DiffusersModel:
    """The model with these deltas, sharing all that they leave alone; differences of several are summed.

    Tokens that are called the same are renamed in their order, as `renamed_apart` says. Raises DeltaError for a
    delta of another model.
    """
    deltas = renamed_apart([use.delta for use in uses])
    base = attention_weights(model.unet.named_parameters())
    weights = applied_weights([(delta, use.strength) for delta, use in zip(deltas, uses, strict=True)], base)
    tokens = [token for delta in deltas for token in delta.tokens]
    strengths = [use.token_strength for delta, use in zip(deltas, uses, strict=True) for _ in delta.tokens]
    unet = with_parameters(model.unet, weights) if weights else model.unet
    return replace(model, unet=unet, text=with_tokens(model.text, tokens, strengths))


def with_tokens(text: ClipText, tokens: Sequence[ModifierToken], strengths: Sequence[float] = ()) -> ClipText:
    """The text encoders with these words of one's own in place of those they knew.

    Raises DeltaError for a token of another width.
    """
    if not tokens:
        return text
    factors = strengths or [1.0] * len(tokens)
    rows = [
        token_rows(tokens, index, table_of(encoder).embedding_dim, factors)
        for index, encoder in enumerate(text.encoders)
    ]
    return with_token_rows(text, [token.name for token in tokens], rows)


def with_token_rows(text: ClipText, names: Sequence[str], rows: Sequence[Tensor]) -> ClipText:
    """The text encoders with rows [n, d] of each behind their tables; tensors that need a gradient get theirs."""
    first = max(table_of(encoder).num_embeddings for encoder in text.encoders)
    encoders = [
        with_module(encoder, embedding_name(encoder), ExtendedEmbedding(table_of(encoder), part))
        for encoder, part in zip(text.encoders, rows, strict=True)
    ]
    modifiers: Mapping[str, int] = {name: first + index for index, name in enumerate(names)}
    return replace(text, encoders=nn.ModuleList(encoders), modifiers=modifiers)


def text_rows(text: ClipText) -> TextRows:
    """How the text encoders read a prompt: rows [n, d] from the start token to the end token, float32."""

    @torch.inference_mode()
    def encode(prompt: str) -> Tensor:
        count = len(text.prompt_tokens(prompt).tokens[:CHUNK_CONTENT])
        return text.encode([prompt]).embeds[0, : count + 2].float().cpu()

    return encode
