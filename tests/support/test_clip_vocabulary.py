"""The tokenizer the other tests rely on is CLIP's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from tests.support.clip_vocabulary import write_clip_tokenizer

IDS = [49406, 320, 9722, 537, 320, 1929, 525, 518, 2117, 49407]


def test_known_ids(tmp_path: Path) -> None:
    folder = write_clip_tokenizer(tmp_path / "tokenizer")
    text = "a mug and a dog on the beach"
    assert CLIPTokenizer.from_pretrained(folder)(text).input_ids == IDS
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges: Any = [tuple(line.split()) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    assert CLIPTokenizer(vocab=vocabulary, merges=merges)(text).input_ids == IDS
