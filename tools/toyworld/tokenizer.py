"""CLIP's byte-pair tokenizer, restricted to the words of the toy world.

All byte symbols stay, so any text can still be tokenized; only the merges that spell other words
are gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from cones2.evaluation.toyworld.captions import FILLERS, OPENINGS, PLACE, TEMPLATES
from cones2.evaluation.toyworld.world import CLASSES, COLORS

from .words import LENGTH, PATTERNS

START, END = "<|startoftext|>", "<|endoftext|>"
BYTES = 512  # CLIP's first symbols: every byte, alone and at the end of a word
GLUE = ("a an the my one and , .",)

Merge = tuple[str, str]


def vocabulary_words() -> set[str]:
    """Every word and sign that a caption or a template can contain."""
    texts = (*CLASSES, *COLORS, *PATTERNS, *PLACE.values(), *TEMPLATES, *OPENINGS, *FILLERS, *GLUE)
    return {word for text in texts for word in re.findall(r"[a-z]+|[,.]", text)}


def merges_of(word: str, ranks: dict[Merge, int]) -> set[Merge]:
    """The merges that CLIP's tokenizer applies to spell `word`."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    used: set[Merge] = set()
    while len(pieces) > 1:
        rank, place = min((ranks.get(pair, 1 << 30), i) for i, pair in enumerate(pairwise(pieces)))
        if rank == 1 << 30:
            break
        used.add((pieces[place], pieces[place + 1]))
        pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
    return used


def restricted(vocabulary: dict[str, int], merges: list[Merge], words: Iterable[str]) -> tuple[list[str], list[Merge]]:
    """Symbols in the order of their new ids, and the merges that are left."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    used: set[Merge] = set().union(*(merges_of(word, ranks) for word in words))
    kept = sorted(used, key=ranks.__getitem__)
    symbols = sorted(vocabulary, key=vocabulary.__getitem__)[:BYTES]
    return [*symbols, *("".join(merge) for merge in kept), START, END], kept


def build(source: Path, target: Path) -> CLIPTokenizer:
    """Write the restricted tokenizer; `source` holds CLIP's own vocab.json and merges.txt."""
    vocabulary = json.loads((source / "vocab.json").read_text())
    lines = (source / "merges.txt").read_text().splitlines()[1:]
    merges = [(a, b) for a, b in (line.split() for line in lines if line)]
    symbols, kept = restricted(vocabulary, merges, vocabulary_words())
    ids = {symbol: index for index, symbol in enumerate(symbols)}
    target.mkdir(parents=True, exist_ok=True)
    (target / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(m) for m in kept)]) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(target, model_max_length=LENGTH)
    tokenizer.save_pretrained(target)
    return tokenizer
