"""A concept as Custom Diffusion learns it: `Delta`, with its words and what it does to weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import DeltaError
from ..families.family import family_of_width
from ..messages import listed, shown
from .changes import Change, Whole, change_kind
from .layers import is_key_or_value, layer_of

MAX_WEIGHTS = 4000
MAX_TOKENS = 256
MAX_TOKEN_NAME = 100
_MAX_WIDTH = 16_384
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""The kinds of numbers that files may hold."""


@dataclass(frozen=True, eq=False)
class ModifierToken:
    """A word of a concept's own, to be written in front of its class word: "photo of a <new1> cat".

    name: as prompts write it.
    vectors: its row in each text encoder's table of input embeddings, [d] float32 each.
    class_word: the word that it stands before, or "" when unknown.
    """

    name: str
    vectors: tuple[Tensor, ...]
    class_word: str = ""


@dataclass(frozen=True, eq=False)
class Delta:
    """A concept: changes of cross-attention weights, and the words that name it.

    weights: by diffusers name, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight".
    tokens: in the order of training.
    family: key of its model family, or "" when unknown.
    metadata: further facts from the file: base model, encoder, steps …
    layers_per_block: of the UNet it is for; CompVis' names count by it.
    """

    weights: Mapping[str, Change]
    tokens: tuple[ModifierToken, ...] = ()
    family: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    layers_per_block: int = 2

    @property
    def width(self) -> int | None:
        """Columns of the text conditioning that its keys and values read; None without such weights."""
        return next((change.shape[1] for name, change in self.weights.items() if is_key_or_value(name)), None)

    @property
    def layers(self) -> int:
        """How many attention layers it changes."""
        return len({layer_of(name) for name in self.weights})

    @property
    def is_whole_attention(self) -> bool:
        """Whether it also changes queries or outputs, not keys and values alone."""
        return any(not is_key_or_value(name) for name in self.weights)

    @property
    def stored(self) -> str:
        """What it holds, for people: "whole weights", "differences", "low rank", or several of them."""
        return " and ".join(sorted({change_kind(change) for change in self.weights.values()})) or "no weights"

    @property
    def numbers(self) -> int:
        """How many numbers its weights hold."""
        return sum(part.numel() for change in self.weights.values() for part in change.parts().values())

    def with_weights(self, weights: Mapping[str, Change]) -> Delta:
        """The same concept with other weights."""
        return replace(self, weights=dict(weights))

    def with_names(self, names: Sequence[str]) -> Delta:
        """The same concept whose tokens are called differently. Raises DeltaError for another number of names."""
        if len(names) != len(self.tokens):
            raise DeltaError(f"{len(names)} names for {len(self.tokens)} tokens ({listed(token_names(self))})")
        tokens = [replace(token, name=name) for token, name in zip(self.tokens, names, strict=True)]
        return replace(self, tokens=checked_tokens(tokens))

    def with_class_words(self, words: Sequence[str]) -> Delta:
        """The same concept whose tokens stand before these words; words that are missing stay as they were."""
        tokens = [
            replace(token, class_word=word or token.class_word)
            for token, word in zip(self.tokens, [*words, *[""] * len(self.tokens)], strict=False)
        ]
        return replace(self, tokens=tuple(tokens))


def make_delta(
    weights: Mapping[str, Change],
    tokens: Sequence[ModifierToken] = (),
    metadata: Mapping[str, str] | None = None,
    layers_per_block: int = 2,
) -> Delta:
    """A delta, checked. Raises DeltaError naming the weight or token with another shape, type or value that is not
    finite, keys and values that read texts of different widths, or a delta with neither weights nor tokens."""
    if len(weights) > MAX_WEIGHTS:
        raise DeltaError(f"it changes {len(weights):,} weights: at most {MAX_WEIGHTS:,} are read")
    if not weights and not tokens:
        raise DeltaError("it holds neither attention weights nor a token")
    for name, change in weights.items():
        _check_change(name, change)
    widths = Counter(change.shape[1] for name, change in weights.items() if is_key_or_value(name))
    if len(widths) > 1:
        raise DeltaError(f"its keys and values read texts of different widths: {listed(sorted(widths))}")
    delta = Delta(dict(weights), checked_tokens(tokens), "", dict(metadata or {}), layers_per_block)
    width = delta.width if widths else sum(len(vector) for token in tokens[:1] for vector in token.vectors)
    for token in delta.tokens if widths else ():
        if sum(map(len, token.vectors)) != width:
            raise DeltaError(
                f"its token {shown(token.name, 40)} has {' + '.join(str(len(each)) for each in token.vectors)} numbers "
                f"but its weights read texts {width} wide"
            )
    family = family_of_width(width or 0)
    return replace(delta, family=family.key if family else "")


def checked_tokens(tokens: Sequence[ModifierToken]) -> tuple[ModifierToken, ...]:
    """The tokens, with different names and finite vectors. Raises DeltaError naming the one that is wrong."""
    if len(tokens) > MAX_TOKENS:
        raise DeltaError(f"it has {len(tokens):,} tokens: at most {MAX_TOKENS} are read")
    seen: set[str] = set()
    for token in tokens:
        name = token.name
        if not name.strip() or len(name) > MAX_TOKEN_NAME or name != name.strip() or len(name.split()) != 1:
            raise DeltaError(f'"{shown(name, 40)}" cannot be a token: write one word, such as <new1>')
        if name in seen:
            raise DeltaError(f"two of its tokens are called {shown(name, 40)}")
        seen.add(name)
        for vector in token.vectors:
            if (
                vector.dtype not in FLOATS
                or vector.ndim != 1
                or not 1 <= len(vector) <= _MAX_WIDTH
                or not torch.isfinite(vector).all()
            ):
                raise DeltaError(f"its token {shown(name, 40)} is not a vector of finite numbers")
        if not token.vectors:
            raise DeltaError(f"its token {shown(name, 40)} has no vector")
    return tuple(replace(token, vectors=tuple(each.detach().float() for each in token.vectors)) for token in tokens)


def token_names(delta: Delta) -> list[str]:
    """What its tokens are called."""
    return [token.name for token in delta.tokens]


def numbered_names(count: int, taken: Collection[str] = ()) -> list[str]:
    """<new1>, <new2> and so on: so many names that are not taken."""
    names: Iterator[str] = (f"<new{number}>" for number in range(1, count + len(taken) + 1))
    return [name for name in names if name not in taken][:count]


def renamed_apart(deltas: Sequence[Delta]) -> list[Delta]:
    """The deltas with different names for all tokens: a name that an earlier delta has becomes the next <newN>."""
    taken: set[str] = set()
    apart = []
    for delta in deltas:
        own = set(token_names(delta))
        names = []
        for name in token_names(delta):
            free = name if name not in taken else numbered_names(1, taken | own)[0]
            names.append(free)
            taken.add(free)
        apart.append(delta.with_names(names) if names != token_names(delta) else delta)
    return apart


def whole_weights(weights: Mapping[str, Tensor]) -> dict[str, Change]:
    """New weights by name as changes that replace the base's."""
    return {name: Whole(tensor) for name, tensor in weights.items()}


def _check_change(name: str, change: Change) -> None:
    rank = 1 if name.endswith(".bias") else 2
    for part in change.parts().values():
        if part.layout != torch.strided or part.dtype not in FLOATS:
            raise DeltaError(f"{shown(name, 120)} holds {shown(part.dtype, 30)} numbers, expected floating point")
        if math.prod(part.shape) and not torch.isfinite(part).all():
            raise DeltaError(f"{shown(name, 120)} holds values that are not numbers (NaN or infinity)")
    if len(change.shape) != rank or not all(1 <= side <= _MAX_WIDTH for side in change.shape):
        raise DeltaError(f"{shown(name, 120)} has shape {shown(tuple(change.shape), 60)}, expected {rank} sides")
