"""The peers do what their formulas say, and leave the model as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from cones2.evaluation.arms import parse_arm
from cones2.evaluation.drawing import Material, draw, residuals_of, scene_of
from cones2.evaluation.peer_attention import Couple, Dense, replaced
from cones2.evaluation.peers import sample_peer

pytest.importorskip("diffusers")

from cones2.evaluation.toyworld.bench import open_bench
from cones2.evaluation.toyworld.suites import toy_suite

GRID = (2, 2)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LAYER = SimpleNamespace(heads=2, to_k=lambda x: x * 2, to_v=lambda x: x - 1)


def test_couple_gives_each_position_its_own_prompt() -> None:
    prompts, q = [random(1, 5, 6, seed=1), random(1, 5, 6, seed=2)], random(1, 2, 4, 3, seed=3)
    owners = [torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[0.0, 0, 1, 1]])]
    seen = Couple(prompts, lambda grid: owners).cross(LAYER, q, q, q, GRID)
    for prompt, positions in zip(prompts, (slice(0, 2), slice(2, 4)), strict=True):
        keys, values = ((prompt * 2).view(1, 5, 2, 3).mT, (prompt - 1).view(1, 5, 2, 3).mT)
        keys, values = (part.mT.transpose(1, 2) for part in (keys, values))
        alone = F.scaled_dot_product_attention(q, keys, values)
        assert torch.allclose(seen[:, :, positions], alone[:, :, positions], atol=1e-6)


def test_dense_moves_scores_to_their_row_s_extremes() -> None:
    q, k, v = random(1, 1, 4, 3, seed=4), random(1, 1, 4, 3, seed=5), random(1, 1, 4, 3, seed=6)
    together = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)[None]
    dense = Dense(lambda grid: together, lambda grid: together)
    dense.at(progress=0.0, time=0.9)
    scores = (q[0, 0] @ k[0, 0].T) / 3**0.5
    expected = scores.clone()
    for row in range(4):
        share = 0.75 if row < 3 else 0.25
        factor = 0.3 * 0.9**5 * (1 - share)
        for column in range(4):
            s = scores[row, column]
            move = scores[row].max() - s if together[0, row, column] else -(s - scores[row].min())
            expected[row, column] = s + factor * move
    assert torch.allclose(dense.own(q, k, v, GRID)[0, 0], expected.softmax(-1) @ v[0, 0], atol=1e-6)


def test_dense_ends_after_three_tenths_of_the_steps() -> None:
    q = random(1, 1, 4, 3, seed=7)
    apart = torch.eye(4, dtype=torch.bool)[None]
    dense = Dense(lambda grid: apart, lambda grid: apart)
    plain = F.scaled_dot_product_attention(q, q, q)
    dense.at(progress=0.25, time=0.8)
    assert not torch.allclose(dense.own(q, q, q, GRID), plain)
    dense.at(progress=0.34, time=0.7)
    assert torch.equal(dense.own(q, q, q, GRID), plain)


@pytest.fixture(scope="module")
def material() -> Material:
    return open_bench().material


def test_area_with_one_region_everywhere_samples_that_region_s_prompt(material: Material) -> None:
    (case,) = toy_suite(1, "boxes", 1, 3).cases
    everywhere = replace(case.subjects[0], place=torch.ones(64, 64, dtype=torch.bool))
    case = replace(case, subjects=(everywhere,))
    arm = parse_arm("area,steps=2,looks=words")
    own = replace(case, template=case.alone(everywhere).replace(everywhere.word, "{}"))
    plain = parse_arm("nothing,steps=2")
    expected = material.model.sample(scene_of(material, plain, own), plain.settings((case.seed,), 64))
    assert torch.allclose(sample_peer(material.model, arm, [case], [{}]), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["area", "couple", "dense"])
def test_a_peer_draws_each_case_of_a_batch_and_leaves_the_model_alone(material: Material, name: str) -> None:
    arm = parse_arm(f"{name},steps=2")
    cases = toy_suite(2, "boxes", 2, 3).cases
    before = copy.copy(material.model.unet.attn_processors)
    residuals = [residuals_of(material, arm, case) for case in cases]
    batch = sample_peer(material.model, arm, cases, residuals)
    for index, case in enumerate(cases):
        alone = sample_peer(material.model, arm, [case], residuals[index : index + 1])
        assert torch.allclose(batch[index], alone[0], atol=1e-3)
    assert material.model.unet.attn_processors == before
    described = draw(material, parse_arm(f"{name},steps=1,looks=described"), cases)
    assert described.shape == (2, 3, 64, 64) and bool(torch.isfinite(described).all())


def test_processors_are_back_after_an_error(material: Material) -> None:
    before = copy.copy(material.model.unet.attn_processors)
    with pytest.raises(KeyError), replaced(material.model.unet, Dense(lambda g: g, lambda g: g), slice(1, None)):
        raise KeyError
    assert material.model.unet.attn_processors == before
