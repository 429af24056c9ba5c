"""The ordinary CLIP vocabulary for tests, without a model hub.

It is built from the merge list that the MIT-licensed package open_clip_torch ships (installed for
its data file only), else copied from a ComfyUI checkout.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
from functools import cache
from pathlib import Path

import pytest

# of the files every SD 1.x and 2.x model folder carries
_SHA256 = {
    "vocab.json": "e089ad92ba36837a0d31433e555c8f45fe601ab5c221d4f607ded32d9f7a4349",
    "merges.txt": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
}
_MERGES = 49152 - 256 - 2
_SPECIALS = ("<|startoftext|>", "<|endoftext|>")


def write_clip_tokenizer(folder: Path) -> Path:
    """Write vocab.json, merges.txt and the settings of SD's tokenizer into `folder`, made if missing.

    Skips the test, saying why, where no source of the vocabulary is at hand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _files().items():
        assert hashlib.sha256(content).hexdigest() == _SHA256[name], f"another {name} than CLIP's"
        (folder / name).write_bytes(content)
    start, end = _SPECIALS
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": start,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@cache
def _files() -> dict[str, bytes]:
    package = importlib.util.find_spec("open_clip")
    if package is not None and package.origin is not None:
        return _files_from_merges(Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz"))
    for checkout in (os.environ.get("COMFYUI_PATH", ""), Path.home() / "comfy" / "ComfyUI"):
        folder = Path(checkout) / "comfy" / "sd1_tokenizer"
        if folder.is_dir():
            return {name: (folder / name).read_bytes() for name in _SHA256}
    pytest.skip("the CLIP vocabulary needs open_clip_torch (pip install --no-deps) or a ComfyUI checkout")


def _files_from_merges(path: Path) -> dict[str, bytes]:
    """vocab.json and merges.txt as CLIP's authors wrote them: one entry per byte, per byte ending a word, per merge."""
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _MERGES + 1]
    letters = _byte_letters()
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *_SPECIALS])}
    return {
        "vocab.json": (json.dumps(vocabulary, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode(),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]).encode(),
    }


def _byte_letters() -> list[str]:
    """A printable letter per byte: those that print stand for themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(256 - len(printable))]
