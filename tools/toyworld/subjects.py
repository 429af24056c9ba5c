"""The custom subjects' pictures and their masks as files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cones2.evaluation.toyworld.subjects import subject_masks, subject_pictures
from cones2.evaluation.toyworld.world import CUSTOM


def write_subjects(folder: Path) -> None:
    """Write `folder`/NAME/1.png … 5.png for every subject."""
    for name in CUSTOM:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(subject_pictures(name), 1):
            pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
            Image.fromarray(pixels).save(folder / name / f"{index}.png", optimize=True)


def write_masks(folder: Path) -> None:
    """Write `folder`/NAME/1.png … 5.png, white on the subject, for every subject."""
    for name in CUSTOM:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, mask in enumerate(subject_masks(name), 1):
            Image.fromarray(mask.numpy()).save(folder / name / f"{index}.png", optimize=True)
