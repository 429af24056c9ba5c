"""The formats that Custom Diffusion files come in, recognized by their keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..errors import DeltaError
from ..messages import listed, shown
from ..storage.tensor_tree import TreeFile
from .changes import Change, Whole, from_parts, low_rank
from .delta import FLOATS, MAX_TOKENS, MAX_WEIGHTS, Delta, ModifierToken, make_delta, numbered_names
from .layers import is_key_or_value, layers_per_block_of, plain_name

FormatName = Literal["cones2", "repository", "compvis", "diffusers", "checkpoint", "token"]
FORMAT = "cones2-delta-1"
CLIP_VOCABULARY = 49_408  # rows of a CLIP text encoder's own; added tokens come after them
_TOKEN_TABLE = "embeddings.token_embedding.weight"
_OWN_KEYS = {"format", "family", "width", "tokens", "stored", "layers_per_block", "pack_version"}
_LONGEST_TOKENS = 64 << 10  # characters of the tokens' JSON
_LONGEST_TEXT = 1000  # characters of a fact
_ALL_TEXTS = 32 << 10  # bytes of all of them


@dataclass(frozen=True, eq=False)
class Parsed:
    """What a file holds.

    format: how its keys are written.
    notes: what is missing or was left out, a sentence each.
    """

    delta: Delta
    format: FormatName
    notes: tuple[str, ...] = ()


@dataclass
class _Found:
    """What was collected from a file's keys."""

    weights: dict[str, Change] = field(default_factory=dict)
    tokens: list[ModifierToken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    layers_per_block: int = 2


def parse(file: TreeFile) -> Parsed:
    """The delta in a file. Raises DeltaError saying which part is missing or wrong."""
    entries = file.tree
    if file.metadata.get("format") == FORMAT:
        return _parse_own(file)
    name, found = _parse_foreign(entries)
    if not found.weights and not found.tokens:
        raise DeltaError(
            'it is not a Custom Diffusion file: it has neither attention weights ("….attn2.to_k.weight") nor tokens; '
            f"its keys are {listed(list(entries))}"
        )
    if not found.weights:
        found.notes.append("it holds a token alone: the attention weights are in another file, such as delta.bin")
    elif not found.tokens:
        found.notes.append(
            "it has no modifier token: give its token file too (diffusers writes <new1>.bin), or use the class word"
        )
    delta = make_delta(found.weights, found.tokens, _texts(file.metadata), found.layers_per_block)
    return Parsed(delta, name if found.weights else "token", tuple(found.notes))


def _parse_foreign(entries: Mapping[str, object]) -> tuple[FormatName, _Found]:
    found = _Found()
    unet, state = entries.get("unet"), entries.get("state_dict")
    if isinstance(unet, Mapping):
        _take_weights(found, unet)
        _take_named_tokens(found, entries.get("modifier_token"))
        encoders = [key for key in entries if key.startswith("text_encoder")]
        if encoders:
            found.notes.append(
                f"its trained text encoder ({listed(encoders)}) is not used: only weights and tokens are"
            )
        return "repository", found
    flat = state if isinstance(state, Mapping) else entries
    _take_weights(found, flat)
    _take_embed(found, flat.get("embed"))
    _take_named_tokens(found, entries.get("modifier_token"))
    _take_named_tokens(found, {key: value for key, value in entries.items() if key.startswith("<")})
    tables = [key for key in flat if key.endswith(_TOKEN_TABLE)]
    if any((".attn1." in key and key.endswith(".weight")) or "resnets" in key or "in_layers" in key for key in flat):
        _take_added_rows(found, flat, tables)
        return "checkpoint", found
    if any("_custom_diffusion" in key for key in flat):
        return "diffusers", found
    return ("compvis" if any("_blocks." in key and "put_blocks." in key for key in flat) else "repository"), found


def _take_weights(found: _Found, entries: Mapping[str, object]) -> None:
    """The attention weights among the entries, whole or as products."""
    biases = []
    found.layers_per_block = layers_per_block_of(entries)
    for key, value in entries.items():
        name = plain_name(key, found.layers_per_block)
        if name is None:
            continue
        change = _change(value)
        if change is None:
            raise DeltaError(f"{shown(key, 120)} is neither a tensor nor a product u·v of two")
        if name.endswith((".to_q.bias", ".to_k.bias", ".to_v.bias")):
            biases.append(name)
            continue
        if name in found.weights:
            raise DeltaError(f"it holds {shown(name, 120)} twice")
        found.weights[name] = change
        if len(found.weights) > MAX_WEIGHTS:
            raise DeltaError(f"it holds more than {MAX_WEIGHTS:,} attention weights")
    if biases:
        found.notes.append(f"{len(biases)} biases of queries, keys or values are left out: models have none there")


def _change(value: object) -> Change | None:
    match value:
        case Tensor():
            return Whole(value)
        case {"u": Tensor() as up, "v": Tensor() as down}:
            return low_rank(up, down)
    return None


def _take_named_tokens(found: _Found, tokens: object) -> None:
    """Tokens by name: a vector each, or a list of one per text encoder (SDXL)."""
    if tokens is None:
        return
    if not isinstance(tokens, Mapping):
        raise DeltaError("its modifier_token is not a dictionary of tokens")
    for name, value in list(tokens.items())[: MAX_TOKENS + 1]:
        rows = list(value.values()) if isinstance(value, Mapping) else [value]
        vectors = tuple(row.reshape(-1).float() for row in rows if isinstance(row, Tensor) and row.dtype in FLOATS)
        if len(vectors) != len(rows) or not rows or any(row.numel() != row.shape[-1] for row in rows if row.ndim):
            raise DeltaError(
                f"its token {shown(name, 40)} is not a vector of floating point, or a list of one per text encoder"
            )
        found.tokens.append(ModifierToken(str(name), tuple(vector.clone() for vector in vectors)))


def _take_embed(found: _Found, embed: object) -> None:
    """Rows [n, d] without names; a file converted from diffusers joins them end to end."""
    if embed is None:
        return
    shapes = [change.shape for name, change in found.weights.items() if is_key_or_value(name)]
    width = next((shape[1] for shape in shapes if len(shape) == 2), 0)
    if not isinstance(embed, Tensor) or embed.dtype not in FLOATS or not embed.numel() or embed.ndim not in (1, 2):
        raise DeltaError('its "embed" is not a table of token vectors')
    width = width or embed.shape[-1]
    if embed.numel() % width:
        raise DeltaError(f'its "embed" has {embed.numel():,} numbers, which do not make rows of {width}')
    _add_rows(found, embed.reshape(-1, width))


def _take_added_rows(found: _Found, entries: Mapping[str, object], tables: list[str]) -> None:
    """Of a whole checkpoint: the rows after the vocabulary's own."""
    for key in tables[:1]:
        table = entries[key]
        if not isinstance(table, Tensor) or table.ndim != 2 or table.dtype not in FLOATS:
            continue
        if len(table) > CLIP_VOCABULARY and not found.tokens:
            _add_rows(found, table[CLIP_VOCABULARY:])


def _add_rows(found: _Found, rows: Tensor) -> None:
    if len(rows) > MAX_TOKENS:
        raise DeltaError(f"it has {len(rows):,} tokens: at most {MAX_TOKENS} are read")
    names = numbered_names(len(rows))
    found.tokens += [ModifierToken(name, (row.float().clone(),)) for name, row in zip(names, rows, strict=True)]


def _parse_own(file: TreeFile) -> Parsed:
    parts: dict[str, dict[str, Tensor]] = {}
    vectors: dict[tuple[int, int], Tensor] = {}
    for key, tensor in file.tree.items():
        name, _, kind = key.rpartition(":")
        if isinstance(tensor, Tensor) and kind and plain_name(name) == name:
            parts.setdefault(name, {})[kind] = tensor
        elif isinstance(tensor, Tensor) and name == "token" and kind.count(".") == 1:
            token, _, encoder = kind.partition(".")
            if token.isdecimal() and encoder.isdecimal() and len(kind) < 12:
                vectors[int(token), int(encoder)] = tensor
    weights = {}
    for name, each in parts.items():
        change = from_parts(each)
        if change is None:
            raise DeltaError(f"{shown(name, 120)} has the parts {listed(sorted(each))}, which do not make a weight")
        weights[name] = change
    per_block = file.metadata.get("layers_per_block", "")
    delta = make_delta(
        weights,
        list(_own_tokens(file.metadata.get("tokens", "[]"), vectors)),
        _texts(file.metadata),
        int(per_block) if per_block in ("1", "2", "3", "4") else 2,
    )
    return Parsed(delta, "cones2")


def _own_tokens(text: str, vectors: Mapping[tuple[int, int], Tensor]) -> Iterator[ModifierToken]:
    try:
        listing = json.loads(text) if len(text) <= _LONGEST_TOKENS else None
    except (ValueError, RecursionError):
        listing = None
    if not isinstance(listing, list) or not all(isinstance(item, dict) for item in listing[:MAX_TOKENS]):
        raise DeltaError("its list of tokens is damaged")
    for index, item in enumerate(listing[: MAX_TOKENS + 1]):
        rows = sorted((encoder, vector) for (token, encoder), vector in vectors.items() if token == index)
        name, word = (str(item.get(key, ""))[:200] for key in ("name", "class_word"))
        yield ModifierToken(name, tuple(vector.reshape(-1) for _, vector in rows), word)


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    """The facts of others, if they are short: trainers write whole reports there, which are not needed again."""
    texts: dict[str, str] = {}
    left = _ALL_TEXTS
    for key, value in metadata.items():
        size = len(key.encode(errors="backslashreplace")) + len(value.encode(errors="backslashreplace"))
        if key not in _OWN_KEYS and len(key) <= _LONGEST_TEXT and len(value) <= _LONGEST_TEXT and size <= left:
            texts[key] = value
            left -= size
    return texts


def own_entries(delta: Delta) -> dict[str, Tensor]:
    """The tensors of our own file by name; `parse` reads them with `own_metadata`."""
    entries = {
        f"{name}:{kind}": part for name, change in delta.weights.items() for kind, part in change.parts().items()
    }
    for index, token in enumerate(delta.tokens):
        entries |= {f"token:{index}.{encoder}": vector for encoder, vector in enumerate(token.vectors)}
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in entries.items()}


def own_metadata(delta: Delta, version: str) -> dict[str, str]:
    """What our own file says about a delta."""
    tokens = [{"name": token.name, "class_word": token.class_word} for token in delta.tokens]
    return {
        **delta.metadata,
        "format": FORMAT,
        "family": delta.family,
        "width": str(delta.width or ""),
        "tokens": json.dumps(tokens),
        "stored": delta.stored,
        "layers_per_block": str(delta.layers_per_block),
        "pack_version": version,
    }


Rename = Callable[[str], str]


def weight_entries(weights: Mapping[str, Change], rename: Rename) -> dict[str, object]:
    """The weights as the repository's files hold them: tensors, products as dictionaries of u and v."""
    entries: dict[str, object] = {}
    for name, change in weights.items():
        parts = {kind: part.detach().cpu().clone().contiguous() for kind, part in change.parts().items()}
        entries[rename(name)] = {"u": parts["up"], "v": parts["down"]} if "up" in parts else next(iter(parts.values()))
    return entries


def stacked_vectors(delta: Delta) -> Tensor | None:
    """The tokens' vectors [n, d] of a delta for one text encoder; None without tokens."""
    return torch.stack([token.vectors[0] for token in delta.tokens]) if delta.tokens else None
