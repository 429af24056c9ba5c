"""The custom subjects: five pictures of each held-out look."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from PIL import Image

from cones2.evaluation.toyworld.world import BACKGROUNDS, SUBJECTS, WORDLESS_SUBJECTS, photo_scene, render

PICTURES = 5
ALL = SUBJECTS | WORDLESS_SUBJECTS


def subject_pictures(name: str) -> torch.Tensor:
    """[5, 3, 64, 64] in [0, 1]: the subject alone, each time on another background."""
    rng = random.Random(f"subject {name}")
    backgrounds = rng.sample(BACKGROUNDS, PICTURES)
    return render([photo_scene(rng, ALL[name], place) for place in backgrounds])[0]


def write_subjects(folder: Path) -> None:
    """Write `folder`/NAME/1.png … 5.png for every subject."""
    for name in ALL:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(subject_pictures(name), 1):
            pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
            Image.fromarray(pixels).save(folder / name / f"{index}.png", optimize=True)


def read_subject(folder: Path) -> torch.Tensor:
    """The pictures of a folder as [N, 3, 64, 64] in [0, 1]."""
    images = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]
    pixels = [torch.frombuffer(bytearray(im.tobytes()), dtype=torch.uint8) for im in images]
    stacked = torch.stack([p.view(im.height, im.width, 3) for p, im in zip(pixels, images, strict=True)])
    return stacked.permute(0, 3, 1, 2).float() / 255
