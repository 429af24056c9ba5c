"""What an image adapter of the toy world learns from: objects alone on white, and scenes whose objects have some."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cones2.concepts.cutout import CutOut, cut_out
from cones2.evaluation.toyworld.captions import caption
from cones2.evaluation.toyworld.world import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    HELD_OUT,
    SIZE,
    Look,
    Scene,
    photo_scene,
    random_look,
    random_scene,
    render,
)
from cones2.storage.files import write_atomically

PER_OBJECT = 2  # references of each object, in poses of their own
MORE_BADGES = 0.4  # of the objects, beside those of the world
MOST = 3  # objects of a scene
PART = 64  # scenes rendered together
LABELS = "metadata.jsonl"


def any_look(rng: random.Random, kind: str = "") -> Look:
    """A look of a class, or of any, that no custom subject has; half of them with a badge."""
    while True:
        look = random_look(rng, kind or rng.choice(CLASSES))
        badge = rng.choice([color for color in COLORS if color not in look.colors])
        more = replace(look, badge=look.badge or badge) if rng.random() < MORE_BADGES else look
        if more not in HELD_OUT:
            return more


def cutouts(rng: random.Random, looks: Sequence[Look]) -> list[CutOut]:
    """Each look alone in a photo of its own, cut out of it."""
    scenes = [photo_scene(rng, look, rng.choice(BACKGROUNDS)) for look in looks]
    pictures, owners = render(scenes)
    return [cut_out(picture, owner > 0) for picture, owner in zip(pictures, owners, strict=True)]


def write_scenes(folder: Path, count: int, seed: int) -> None:
    """Write `count` scenes of one to three objects with captions, boxes, masks and references; metadata.jsonl last.

    Captions name the objects without adjectives: what they look like is told by the references alone.
    """
    for name in ("pictures", "masks", "references"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"references {seed}")
    lines = [json.dumps(row) + "\n" for row in _rows(folder, count, rng)]
    write_atomically(folder / LABELS, lambda stream: stream.write("".join(lines).encode()), overwrite=True)


def _rows(folder: Path, count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    for first in range(0, count, PART):
        scenes = [_scene(rng) for _ in range(min(PART, count - first))]
        pictures, owners = render(scenes)
        alone = iter(
            cutouts(rng, [thing.look for scene in scenes for thing in scene.things for _ in range(PER_OBJECT)])
        )
        for number, (scene, picture, owner) in enumerate(zip(scenes, pictures, owners, strict=True), first):
            references = [[next(alone) for _ in range(PER_OBJECT)] for _ in scene.things]
            things = _things(folder, f"{number:05}", scene, owner, references)
            _save(picture, folder / f"pictures/{number:05}.png")
            text = caption(scene, rng, described=0.0)
            yield {"file_name": f"pictures/{number:05}.png", "text": text, "objects": things}


def _scene(rng: random.Random) -> Scene:
    """One to three objects of different classes."""
    return random_scene(rng, [any_look(rng, kind) for kind in rng.sample(CLASSES, rng.randint(1, MOST))])


def _things(
    folder: Path, name: str, scene: Scene, owner: torch.Tensor, references: Sequence[Sequence[CutOut]]
) -> list[dict[str, Any]]:
    """The objects of one scene as its line has them; their masks and references are written."""
    things = []
    for index, (thing, shown) in enumerate(zip(scene.things, references, strict=True)):
        mask = owner == index + 1
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        top, left, bottom, right = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        own = f"{name}_{index}"
        Image.fromarray(mask.numpy()).save(folder / f"masks/{own}.png")
        paths = [f"references/{own}_{number}.png" for number in range(len(shown))]
        for path, cutout in zip(paths, shown, strict=True):
            _save(cutout.rgba, folder / path)
        box = [round(value / SIZE, 5) for value in (left, top, right - left, bottom - top)]
        things.append({"name": thing.look.kind, "box": box, "mask": f"masks/{own}.png", "references": paths})
    return things


def _save(pixels: torch.Tensor, path: Path) -> None:
    Image.fromarray((pixels.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
