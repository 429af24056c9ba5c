"""What `cones2 delta` does with files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..custom_diffusion.base import BaseWeights, attention_weights, load_base_weights
from ..custom_diffusion.captions import ordinary_captions, read_captions
from ..custom_diffusion.changes import Difference, Whole
from ..custom_diffusion.compress import compress
from ..custom_diffusion.delta import Delta, make_delta, renamed_apart
from ..custom_diffusion.files import DeltaFile, export_delta, load_delta, read_delta_file, save_delta
from ..custom_diffusion.fit import applied_weights, as_difference, as_whole
from ..custom_diffusion.layers import is_key_or_value
from ..custom_diffusion.merge import merge
from ..errors import DeltaError
from ..families.family import family_of_width
from ..messages import shown
from ..storage.files import shown_path
from .residual import table

_COLUMNS = ("file", "tokens", "family", "width", "layers", "parts", "stored", "numbers", "format")


def inspect(paths: Sequence[Path]) -> int:
    """A line per file, and one per problem."""
    rows, problems = [], []
    for path in paths:
        try:
            file = read_delta_file(path)
        except DeltaError as error:
            problems.append(str(error))
            continue
        rows.append(_row(path, file))
        problems += [f"{shown_path(path)}: {note}" for note in file.notes]
    if rows:
        print(table([_COLUMNS, *rows]))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if len(rows) < len(paths) else 0


def convert(args: argparse.Namespace) -> int:
    """Read, rename, turn into what the format needs, write."""
    delta = load_delta(args.input, args.token_file)
    if args.name:
        delta = delta.with_names(args.name)
    delta = delta.with_class_words(args.class_word)
    base = None if args.base is None else load_base_weights(args.base)
    delta = _stored_as(delta, args.store or {"lora": "difference"}.get(args.to, ""), base, args.to)
    for path in export_delta(delta, args.output, args.to, args.overwrite):
        print(f"{shown_path(path)}: {_summary(delta)}, {path.stat().st_size:,} bytes")
    return 0


def merge_files(args: argparse.Namespace) -> int:
    """Merge several files on their base model."""
    deltas = _with_class_words([load_delta(path) for path in args.files], args.class_word)
    if args.how == "sum":
        base = load_base_weights(args.model)
        path = save_delta(summed(deltas, base), args.out, args.overwrite)
        print(f"{shown_path(path)}: the sum of {len(deltas)} deltas' differences")
        return 0
    from ..diffusers_models.deltas import text_rows, with_tokens
    from ..diffusers_models.loading import load_model

    model = load_model(args.model, args.tokenizer)
    captions = ordinary_captions() if args.captions is None else read_captions(args.captions)
    result = merge(
        deltas,
        attention_weights(model.unet.named_parameters()),
        lambda tokens: text_rows(with_tokens(model.text, tokens)),
        captions,
    )
    path = save_delta(result.delta, args.out, args.overwrite)
    print(
        f"{shown_path(path)}: {_summary(result.delta)}; {result.target_rows} target words, "
        f"{result.caption_rows} rows of {len(captions)} captions ({result.independent} independent), "
        f"constraint error {result.constraint_error:.1e}"
    )
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def compress_file(args: argparse.Namespace) -> int:
    """Write a smaller file."""
    small = compress(load_delta(args.input), load_base_weights(args.base).weights, args.ratio)
    path = save_delta(small, args.output, args.overwrite)
    print(f"{shown_path(path)}: {_summary(small)}, {path.stat().st_size:,} bytes")
    return 0


def summed(deltas: Sequence[Delta], base: BaseWeights) -> Delta:
    """One delta of several: their differences added, their tokens renamed apart."""
    apart = renamed_apart(deltas)
    plain = {name: weight.float() for name, weight in base.weights.items()}
    weights = applied_weights([(delta, 1.0) for delta in apart], plain)
    changes = {name: Difference(weight - plain[name]) for name, weight in weights.items()}
    tokens = [token for delta in apart for token in delta.tokens]
    return make_delta(changes, tokens, {"method": "sum of differences"}, base.layers_per_block)


def _stored_as(delta: Delta, store: str, base: BaseWeights | None, target: str) -> Delta:
    """The delta with whole weights or differences; what the target needs where nothing is asked for."""
    if base is None:
        if store:
            raise DeltaError(f"turning weights into {store} ones needs the base model: give --base MODEL")
        return delta
    if store == "difference":
        return as_difference(delta, base.weights, drop_unchanged=True)
    replaces = target in ("repository", "compvis", "diffusers")
    if store == "whole" or (replaces and any(_must_be_whole(delta, name, target) for name in delta.weights)):
        return as_whole(delta, base.weights)
    return delta


def _must_be_whole(delta: Delta, name: str, target: str) -> bool:
    """Whether a format cannot hold this weight as it is stored."""
    change = delta.weights[name]
    if isinstance(change, Whole):
        return False
    return isinstance(change, Difference) or target == "diffusers" or not is_key_or_value(name)


def _with_class_words(deltas: Sequence[Delta], words: Sequence[str]) -> list[Delta]:
    """The deltas with the class words of flags, which count over all files."""
    count = sum(len(delta.tokens) for delta in deltas)
    if words and len(words) != count:
        raise DeltaError(f"{len(words)} class words for {count} tokens: give --class-word once per token")
    rest, named = list(words), []
    for delta in deltas:
        own, rest = rest[: len(delta.tokens)], rest[len(delta.tokens) :]
        named.append(delta.with_class_words(own))
    return named


def _summary(delta: Delta) -> str:
    tokens = ", ".join(_token_label(delta)) or "no token"
    return f"{tokens}; {delta.layers} layers, {delta.stored}, {delta.numbers:,} numbers"


def _token_label(delta: Delta) -> list[str]:
    return [shown(f"{token.name} {token.class_word}".strip(), 60) for token in delta.tokens[:8]]


def _row(path: Path, file: DeltaFile) -> tuple[str, ...]:
    delta = file.delta
    family = family_of_width(delta.width or 0)
    return (
        shown(path),
        ", ".join(_token_label(delta)) or "none",
        family.label if family else "unknown",
        str(delta.width or ""),
        str(delta.layers),
        "all of attn2" if delta.is_whole_attention else "K and V" if delta.weights else "none",
        delta.stored,
        f"{delta.numbers:,}",
        f"{file.format} ({file.container})",
    )
