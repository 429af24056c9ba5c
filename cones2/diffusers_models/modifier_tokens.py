"""Words of one's own in a prompt: vectors put into the text encoders' input, no vocabulary changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..custom_diffusion.delta import ModifierToken
from ..errors import DeltaError
from ..prompt.tokens import Piece, Tokenize, bare_phrase


class ExtendedEmbedding(nn.Module):
    """A text encoder's token table with rows behind it, for the ids −1, −2, …

    Negative ids leave the encoder's search for the end token alone: some take the largest id for it.
    """

    def __init__(self, table: nn.Module, rows: Tensor) -> None:
        super().__init__()
        self.table, self.rows = table, rows  # rows [n, d]: a plain tensor, or a parameter that learns

    @property
    def weight(self) -> Tensor:
        """The table's own rows: encoders ask for their type."""
        weight: Tensor = self.table.weight  # type: ignore[assignment]
        return weight

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, L] to embeddings [B, L, d]."""
        embedded: Tensor = self.table(ids.clamp(min=0))
        added = self.rows.to(embedded.device, embedded.dtype)[(-1 - ids).clamp(min=0)]
        return torch.where((ids < 0)[..., None], added, embedded)


def tokenize_with(tokenize: Tokenize, ids: Mapping[str, int]) -> Tokenize:
    """A tokenizer that also knows words of one's own, wherever they stand; one alone also without its brackets.

    ids: of each word, above those of the vocabulary.
    """
    pattern = re.compile("(" + "|".join(re.escape(name) for name in sorted(ids, key=len, reverse=True)) + ")")
    alone = {bare_phrase(name): name for name in ids}

    def with_words(text: str) -> Sequence[Piece]:
        pieces: list[Piece] = []
        for part in pattern.split(alone.get(text, text)):
            if part in ids:
                if pieces and not pieces[-1].ends_word:
                    pieces[-1] = pieces[-1]._replace(ends_word=True)
                pieces.append(Piece(ids[part], part.encode(), True))
            elif part.strip():
                pieces += tokenize(part)
        return pieces

    return with_words


def token_rows(tokens: Sequence[ModifierToken], encoder: int, width: int, strengths: Sequence[float]) -> Tensor:
    """The rows [n, d] of one text encoder. Raises DeltaError for a token of another width."""
    rows = []
    for token, strength in zip(tokens, strengths, strict=True):
        widths = [len(vector) for vector in token.vectors]
        if encoder >= len(widths) or widths[encoder] != width:
            raise DeltaError(
                f"the token {token.name} has {' + '.join(map(str, widths))} numbers, "
                f"this model's text encoder {encoder + 1} reads {width}"
            )
        rows.append(token.vectors[encoder] if strength == 1 else strength * token.vectors[encoder])
    return torch.stack(rows)


def embedding_name(encoder: nn.Module) -> str:
    """Where the encoder's token table is."""
    names: list[str] = [name for name, _ in encoder.named_modules()]
    return next(name for name in names if name.rpartition(".")[2] == "token_embedding")


def negative_ids(ids: Tensor, first: int) -> Tensor:
    """Ids with those from `first` on as −1, −2, …"""
    return torch.where(ids >= first, first - 1 - ids, ids)


def table_of(encoder: Any) -> nn.Embedding:
    """The encoder's own token table."""
    table: Any = encoder.get_submodule(embedding_name(encoder))
    return cast(nn.Embedding, table.table if isinstance(table, ExtendedEmbedding) else table)
