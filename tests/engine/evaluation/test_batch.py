"""Scenes with different prompts, layouts and seeds in one batch come out as each does alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from cones2.errors import Cones2Error
from cones2.evaluation.arms import Arm, parse_arm
from cones2.evaluation.batch import joint_scene
from cones2.evaluation.cases import Case
from cones2.evaluation.drawing import Material, scene_of
from cones2.sampling.start import Start

pytest.importorskip("diffusers")

from cones2.evaluation.toyworld.bench import open_bench
from cones2.evaluation.toyworld.suites import toy_suite

BOTH = parse_arm("both,steps=2")
# The network's own last bits depend on the batch size (measured: 3.4e-5 after three steps, also without a layout).
OTHER_BATCH_SIZE = 2e-4


@pytest.fixture(scope="module")
def material() -> Material:
    return open_bench().material


def alone(material: Material, arm: Arm, case: Case) -> torch.Tensor:
    return material.model.sample(scene_of(material, arm, case), arm.settings((case.seed,), 64))


def together(material: Material, arm: Arm, cases: Sequence[Case]) -> torch.Tensor:
    scene = joint_scene([scene_of(material, arm, case) for case in cases])
    return material.model.sample(scene, arm.settings(tuple(case.seed for case in cases), 64))


@pytest.mark.parametrize(
    "text", ["both,steps=2", "photo,steps=2", "layout,steps=2,mode=others,outside=-2,g=0.3,cfg=1", "residual,steps=2"]
)
def test_each_scene_of_a_batch_has_the_bits_of_the_model_s_own_batch(material: Material, text: str) -> None:
    arm = parse_arm(text)
    cases = [*toy_suite(2, "boxes", 2, 7).cases, *toy_suite(3, "free", 1, 7).cases]
    settings = arm.settings(tuple(case.seed for case in cases), 64)
    batch = together(material, arm, cases)
    for index, case in enumerate(cases):
        own = material.model.sample(scene_of(material, arm, case), settings)  # its scene with all the seeds
        assert torch.equal(batch[index], own[index])


def test_a_scene_of_a_batch_is_what_it_is_alone(material: Material) -> None:
    cases = toy_suite(2, "free", 3, 8).cases
    batch = together(material, BOTH, cases)
    for index, case in enumerate(cases):
        assert (batch[index] - alone(material, BOTH, case)[0]).abs().max() <= OTHER_BATCH_SIZE


def test_a_start_of_nothing_is_the_model_s_own_sampling(material: Material) -> None:
    (case,) = toy_suite(2, "boxes", 1, 7).cases
    settings = BOTH.settings((case.seed,), 64)
    nothing = Start(torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16))
    from_nothing = material.model.sample_from(nothing, scene_of(material, BOTH, case), settings)
    assert torch.equal(from_nothing, alone(material, BOTH, case))


def test_scenes_that_cannot_share_a_batch_are_refused(material: Material) -> None:
    first, second = toy_suite(2, "boxes", 2, 7).cases
    with_layout, without = scene_of(material, BOTH, first), scene_of(material, parse_arm("nothing"), second)
    with pytest.raises(Cones2Error, match="one layout each, or none"):
        joint_scene([with_layout, without])
    longer = replace(second, template=second.template + ", nice" * 80)
    with pytest.raises(Cones2Error, match="one length"):
        joint_scene([with_layout, scene_of(material, BOTH, longer)])
