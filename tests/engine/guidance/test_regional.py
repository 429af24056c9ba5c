"""A subject's own keys and values act inside its region alone."""

from __future__ import annotations

import torch
from torch import Tensor

from cones2.guidance.cross_attention import guided_attention
from cones2.guidance.regional import OwnProjections, Projected, RegionalProjections, with_regions

GRID, HEADS, WIDTH, LENGTH = (4, 6), 2, 4, 5
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn2"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call(bias: Tensor | None = None) -> Projected:
    rows = GRID[0] * GRID[1]
    q, k, v = (random(1, HEADS, count, WIDTH, seed=seed) for seed, count in ((1, rows), (2, LENGTH), (3, LENGTH)))
    return Projected(q, k, v, random(1, LENGTH, 7, seed=4), bias)


def subject(columns: slice, seed: int = 5) -> RegionalProjections:
    mask = torch.zeros(GRID, dtype=torch.bool)
    mask[:, columns] = True
    own = OwnProjections(random(HEADS * WIDTH, 7, seed=seed), random(HEADS * WIDTH, 7, seed=seed + 1))
    return RegionalProjections(mask, {LAYER: own})


def expected(given: Projected, of: RegionalProjections) -> Tensor:
    """Attention with the subject's keys and values everywhere, written out."""
    own = of.layers[LAYER]
    heads = [slice(head * WIDTH, (head + 1) * WIDTH) for head in range(HEADS)]
    keys, values = (torch.stack([(given.text @ part.T)[..., head] for head in heads], 1) for part in own)
    return guided_attention(given.q, given.k + keys, given.v + values, given.bias)


def test_inside_it_is_the_subject_s_attention_and_outside_the_plain_one() -> None:
    given = call(random(1, 1, 24, LENGTH, seed=9))
    out = guided_attention(given.q, given.k, given.v, given.bias)
    one = subject(slice(0, 2))
    found = with_regions(out, LAYER, GRID, [one], given)
    inside = one.mask.flatten()
    assert torch.allclose(found[:, :, inside], expected(given, one)[:, :, inside], atol=1e-5)
    assert torch.equal(found[:, :, ~inside], out[:, :, ~inside])


def test_two_subjects_share_the_cells_of_both() -> None:
    given = call()
    out = guided_attention(given.q, given.k, given.v, None)
    one, two = subject(slice(0, 4)), subject(slice(2, 6), seed=15)
    found = with_regions(out, LAYER, GRID, [one, two], given)
    both = (one.mask & two.mask).flatten()
    mean = (expected(given, one) + expected(given, two)) / 2
    assert torch.allclose(found[:, :, both], mean[:, :, both], atol=1e-5)
    alone = (one.mask & ~two.mask).flatten()
    assert torch.allclose(found[:, :, alone], expected(given, one)[:, :, alone], atol=1e-5)


def test_a_layer_that_no_subject_has_is_left_alone() -> None:
    given = call()
    out = guided_attention(given.q, given.k, given.v, None)
    assert torch.equal(with_regions(out, "another", GRID, [subject(slice(0, 6))], given), out)


def test_a_region_on_a_coarse_grid_keeps_a_cell() -> None:
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[1:2, 1:2] = True
    given = call()
    out = guided_attention(given.q, given.k, given.v, None)
    own = RegionalProjections(mask, subject(slice(0, 1)).layers)
    assert not torch.equal(with_regions(out, LAYER, GRID, [own], given), out)
