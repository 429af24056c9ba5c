"""The judge's training pictures keep their labels, and it agrees with what a reader saw in generated pictures."""

from __future__ import annotations

import random

import pytest
import torch

from cones2.assets import TOYWORLD
from cones2.evaluation.toyworld import detector, world

pytest.importorskip("diffusers")

from tools.toyworld import labeling, softness
from tools.toyworld.detector import answers, labels


def rendered(count: int, seed: int = 0) -> tuple[list[world.Scene], torch.Tensor, torch.Tensor]:
    rng = random.Random(seed)
    scenes = [world.random_scene(rng) for _ in range(count)]
    return scenes, *world.render(scenes)


def test_bent_pictures_and_their_owners_stay_together() -> None:
    *_, owners = rendered(12)
    marked = (owners > 0).float()[:, None].expand(-1, 3, -1, -1)
    torch.manual_seed(0)
    moved, kept = softness.bent(marked, owners)
    assert not torch.equal(kept, owners)
    assert ((moved[:, 0] > 0.5) == (kept > 0)).float().mean() > 0.99
    assert set(kept.unique().tolist()) <= set(owners.unique().tolist())


def test_smearing_blurs_colors_and_keeps_brightness() -> None:
    _, pictures, _ = rendered(4)
    soft = softness.smeared(pictures, 2.0)
    assert (soft.mean(1) - pictures.mean(1)).abs().mean() < 0.02
    assert (soft - soft.mean(1, keepdim=True)).std() < (pictures - pictures.mean(1, keepdim=True)).std()


def test_labels_say_the_look_of_the_object_in_each_cell() -> None:
    scenes, _, owners = rendered(8)
    targets = labels(scenes, owners)
    assert targets.shape == (8, len(detector.HEADS), detector.GRID, detector.GRID)
    for scene, target in zip(scenes, targets, strict=True):
        for thing in scene.things:
            here = target[:, target[0] == world.CLASSES.index(thing.look.kind) + 1]
            assert here.shape[1] >= detector.SMALLEST
            assert (here == torch.tensor(answers(thing.look))[:, None]).all()


@pytest.mark.parametrize("which", labeling.SETS)
def test_committed_pictures_and_labels_belong_together(which: str) -> None:
    read = labeling.labels_of(which)
    assert len(labeling.pictures_of(which)) == len(read)
    for picture in read:
        assert picture.named and {*picture.named, *picture.seen} <= set(world.CLASSES)
        for look in picture.seen.values():
            assert look.colors <= set(world.COLORS) and look.stripes != look.color


@pytest.mark.parametrize("which", labeling.SETS)
def test_the_judge_sees_in_generated_pictures_what_a_reader_sees(which: str) -> None:
    """Bounds below what MODEL_CARD.md reports."""
    agreed = labeling.agreement(detector.load_detector(TOYWORLD / "detector.safetensors"), which)
    assert agreed["class"].value >= 0.85
    assert agreed["right"].value >= 0.8
