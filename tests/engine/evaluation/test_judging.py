"""What the detector found becomes a verdict: places, colors, leaks, backgrounds."""

from __future__ import annotations

import random

import pytest
import torch

from cones2.evaluation.cases import Subject
from cones2.evaluation.toyworld import world
from cones2.evaluation.toyworld.detector import Found
from cones2.evaluation.toyworld.judging import background_of, verdict
from cones2.evaluation.toyworld.world import SUBJECTS, Look
from cones2.layout.regions import Box


def cells(top: int, left: int, bottom: int, right: int, side: int = 32) -> torch.Tensor:
    filled = torch.zeros(side, side, dtype=torch.bool)
    filled[top:bottom, left:right] = True
    return filled


def found(look: Look, x: float = 0.25, y: float = 0.25) -> dict[str, Found]:
    return {look.kind: Found(look, x, y, cells(4, 4, 12, 12))}


MUG, DOG = SUBJECTS["purple_yellow_mug"], SUBJECTS["blue_white_dog"]
LEFT = cells(0, 0, 64, 32, 64)


def test_an_object_is_in_place_where_its_center_lies() -> None:
    for place in (LEFT, Box(0, 0, 0.5, 1)):
        subject = Subject("mug", "purple_yellow_mug", place=place)
        assert verdict(found(MUG, x=0.49), [subject]).subjects[0].in_place
        assert not verdict(found(MUG, x=0.51), [subject]).subjects[0].in_place


def test_an_object_that_may_be_anywhere_is_in_place() -> None:
    assert verdict(found(MUG), [Subject("mug")]).subjects[0].in_place
    assert not verdict({}, [Subject("mug")]).subjects[0].in_place


@pytest.mark.parametrize("place", [LEFT, Box(0, 0, 0.5, 1)])
def test_overlap_is_intersection_over_union(place: torch.Tensor | Box) -> None:
    seen = verdict(found(MUG), [Subject("mug", place=place)]).subjects[0]
    assert seen.overlap == pytest.approx(64 / 512)  # 8 × 8 of 16 × 32 cells


def test_own_colors_may_be_exchanged_but_the_exact_look_not() -> None:
    subject = Subject("mug", "purple_yellow_mug")
    (exact,) = verdict(found(MUG), [subject]).subjects
    (turned,) = verdict(found(Look("mug", "yellow", "purple")), [subject]).subjects
    (plain,) = verdict(found(Look("mug", "purple")), [subject]).subjects
    assert (exact.own, exact.exact) == (True, True)
    assert (turned.own, turned.exact, turned.foreign) == (True, False, False)
    assert (plain.own, plain.foreign) == (False, False)


def test_a_neighbor_color_leaks_and_a_stray_one_is_only_foreign() -> None:
    subjects = [Subject("mug", "purple_yellow_mug"), Subject("dog", "blue_white_dog")]
    leaking, dog = verdict(found(Look("mug", "purple", "blue")), subjects).subjects
    (strange, _) = verdict(found(Look("mug", "purple", "red")), subjects).subjects
    assert (leaking.leaked, leaking.foreign) == (("blue_white_dog",), True)
    assert (strange.leaked, strange.foreign) == ((), True)
    assert not dog.there


def test_what_nobody_named_is_listed() -> None:
    sight = {**found(MUG), **found(Look("fish", "red")), **found(Look("ball", "red"))}
    assert verdict(sight, [Subject("mug")]).unnamed == ("ball", "fish")


def test_the_background_of_renderings_is_recognized_beside_the_objects() -> None:
    rng = random.Random(5)
    scenes = [world.random_scene(rng, background=place) for place in world.BACKGROUNDS for _ in range(8)]
    pictures, owners = world.render(scenes)
    hits = 0
    for scene, picture, owner in zip(scenes, pictures, owners, strict=True):
        covered = torch.nn.functional.max_pool2d((owner > 0)[None, None].float(), 2)[0, 0] > 0
        hits += background_of(picture, {"thing": Found(MUG, 0.5, 0.5, covered)}) == scene.background
    assert hits >= 46  # of 48
    everything = {"thing": Found(MUG, 0.5, 0.5, torch.ones(32, 32, dtype=torch.bool))}
    assert background_of(pictures[0], everything) == ""
