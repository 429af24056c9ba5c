"""A small folder of labeled pictures, as an image adapter learns from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 32


def label(number: int, **changes: Any) -> dict[str, Any]:
    """The line of one picture of a dog and a vase: the first by its mask, the second by references."""
    dog = {"name": "dog", "box": [0.0, 0.25, 0.5, 0.5], "mask": f"{number}_mask.png"}
    vase = {"name": "vase", "box": [0.5, 0.25, 0.5, 0.5], "references": ["vase.png"]}
    return {"file_name": f"{number}.png", "text": "a dog and a vase", "objects": [dog, vase], **changes}


def write_pictures(folder: Path, count: int = 2) -> Path:
    """Pictures of random colors with their metadata.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[8:24, :16] = 255
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
    Image.fromarray(np.full((20, 12, 4), 200, dtype=np.uint8)).save(folder / "vase.png")
    write_labels(folder, [label(number) for number in range(count)])
    return folder


def write_labels(folder: Path, lines: list[dict[str, Any]]) -> None:
    """The folder's metadata.jsonl."""
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
