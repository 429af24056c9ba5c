"""The term as extra features of queries and keys: the same attention as with a mask of all pairs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cones2.guidance.cross_attention import LayoutBias, score_std
from cones2.guidance.features import SCORE_LIMIT, Closing, Gains, Placed, runs, with_features
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import Box, layout_from_boxes
from cones2.sampling.noise import log_growth

GRID, TEXT = (6, 8), 12
CELLS = GRID[0] * GRID[1]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def layout_bias(outside: float = -1e8) -> LayoutBias:
    layout = layout_from_boxes([Box(0, 0, 0.5, 1), Box(0.5, 0, 0.5, 1)], ["dog", "mug"], 48, 64, "fractions")
    return LayoutBias(weight_maps(layout, [[(2, 3)], [(7,)]], outside))


def sequence(seed: int = 0, batch: int = 1, width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of a text and a picture in one sequence."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, batch, 2, TEXT + CELLS, width, generator=generator)
    return q, k, v


def placed(term: LayoutBias, q: Tensor, k: Tensor, sigma: float = 5.0) -> list[Placed]:
    gains = term.gains(q[:, :, TEXT:], k[:, :, :TEXT], GRID, log_growth(sigma))
    return [Placed(gains, slice(0, len(q)), TEXT, 0)]


def by_features(q: Tensor, k: Tensor, v: Tensor, parts: list[Placed]) -> Tensor:
    extended = with_features(q, k, v, parts)
    return F.scaled_dot_product_attention(*extended, scale=q.shape[-1] ** -0.5)[..., : q.shape[-1]]


def by_mask(q: Tensor, k: Tensor, v: Tensor, parts: list[Placed]) -> Tensor:
    """The oracle: all scores in double precision."""
    scores = q.double() @ k.double().mT
    for gains, batch, cell, token in parts:
        cells = slice(cell, cell + gains.cells.shape[1])
        for column, group in enumerate(gains.tokens):
            for index in group:
                scores[batch, :, cells, token + index] += gains.cells[:, None, :, column].double()
    return (scores * q.shape[-1] ** -0.5).softmax(-1) @ v.double()


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 3), st.sampled_from([8, 40, 64]), st.sampled_from([-1e8, -2.0, 0.0]))
def test_features_are_the_mask_of_all_pairs(seed: int, batch: int, width: int, outside: float) -> None:
    q, k, v = sequence(seed, batch, width)
    parts = placed(layout_bias(outside), q, k)
    assert torch.allclose(by_features(q, k, v, parts).double(), by_mask(q, k, v, parts), atol=2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_features_round_no_more_than_plain_attention(dtype: torch.dtype) -> None:
    q, k, v = (part.to(dtype) for part in sequence(1, 2, 64))
    parts = placed(layout_bias(), q, k)
    parts = [part._replace(gains=Gains(part.gains.cells.to(dtype).float(), part.gains.tokens)) for part in parts]
    error = (by_features(q, k, v, parts).double() - by_mask(q, k, v, parts)).abs().max()
    plain = F.scaled_dot_product_attention(q, k, v).double() - by_mask(q, k, v, [])
    assert error <= 1.1 * plain.abs().max() and torch.isfinite(error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_closed_tokens_get_exactly_nothing(dtype: torch.dtype) -> None:
    q, k, _ = (part.to(dtype) for part in sequence(2))
    extended = with_features(q, k, k, placed(layout_bias(), q, k))
    shares = ((extended.q.float() @ extended.k.float().mT) * 0.25).softmax(-1)
    right = (torch.arange(CELLS) % GRID[1] >= GRID[1] // 2).nonzero()[:, 0] + TEXT
    assert not shares[:, :, right][..., [2, 3]].any()


def test_a_value_of_half_precisions_limit_would_overflow() -> None:
    assert torch.finfo(torch.float16).max > 2 * SCORE_LIMIT
    assert all(torch.tensor(SCORE_LIMIT, dtype=dtype).item() == SCORE_LIMIT for dtype in DTYPES)


def test_only_the_cells_of_the_given_entries_change() -> None:
    q, k, v = sequence(3, 2)
    parts = [part._replace(batch=slice(1, 2)) for part in placed(layout_bias(), q[1:], k[1:])]
    found, plain = by_features(q, k, v, parts), F.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(found[0], plain[0], atol=1e-6)
    assert torch.allclose(found[1, :, :TEXT], plain[1, :, :TEXT], atol=1e-6)
    assert not torch.allclose(found[1, :, TEXT:], plain[1, :, TEXT:], atol=1e-3)


def test_terms_of_the_same_entries_add_up() -> None:
    q, k, v = sequence(4)
    parts = placed(layout_bias(-2.0), q, k) + placed(layout_bias(0.0), q, k, 2.0)
    assert torch.allclose(by_features(q, k, v, parts).double(), by_mask(q, k, v, parts), atol=2e-6)


def test_widths_stay_multiples_of_eight_and_values_are_as_wide() -> None:
    q, k, v = sequence(5)
    for count, width in ((1, 24), (4, 24), (5, 32)):
        extended = with_features(q, k, v, placed(layout_bias(), q, k) * count)
        assert {part.shape[-1] for part in extended} == {width}


@pytest.mark.parametrize("pads", [0, 57, 236])
def test_gains_do_not_depend_on_pads(pads: int) -> None:
    """The deviation is over the prompt's own tokens: whoever calls leaves pads out, and they change nothing."""
    q, k, _ = sequence(6)
    longer = torch.cat([k[:, :, :TEXT], 9 * torch.ones(1, 2, pads, k.shape[-1])], 2)
    cells = q[:, :, TEXT:]
    found = layout_bias().gains(cells, longer[:, :, :TEXT], GRID, 1.0)
    assert torch.equal(found.cells, layout_bias().gains(cells, k[:, :, :TEXT], GRID, 1.0).cells)
    if pads:
        assert not torch.allclose(score_std(cells, longer), score_std(cells, k[:, :, :TEXT]), rtol=0.05)


@settings(max_examples=20)
@given(st.integers(0, 99), st.sampled_from([-2.0, 0.0]))
def test_gains_as_a_mask_are_the_terms_own_mask(seed: int, outside: float) -> None:
    q, k, _ = sequence(seed, 2)
    cells, text = q[:, :, TEXT:], k[:, :, :TEXT]
    term = layout_bias(outside)
    mask = term.gains(cells, text, GRID, 1.5).mask(TEXT, q.shape[-1] ** -0.5, q.dtype)
    assert torch.allclose(mask, term.bias(cells, text, GRID, 1.5), atol=1e-6)


def test_a_subject_that_the_prompt_does_not_name_has_no_column() -> None:
    layout = layout_from_boxes([Box(0, 0, 0.5, 1), Box(0.5, 0, 0.5, 1)], ["cat", "mug"], 48, 64, "fractions")
    maps = weight_maps(layout, [[], [(7,)]])
    q, k, _ = sequence(7)
    gains = LayoutBias(maps).gains(q[:, :, TEXT:], k[:, :, :TEXT], GRID, 1.0)
    assert gains.tokens == ((7,),) and gains.cells.shape[-1] == 1
    assert torch.equal(maps.groups_at(*GRID)[:, 0], maps.at(*GRID)[:, 0])


@settings(max_examples=40)
@given(st.sets(st.integers(0, 30)), st.integers(0, 9))
def test_runs_hold_the_indices_in_as_few_slices_as_there_are_gaps(indices: set[int], offset: int) -> None:
    ordered = sorted(indices)
    found = runs(ordered, offset)
    assert [place for run in found for place in range(run.start, run.stop)] == [index + offset for index in ordered]
    assert len(found) == sum(index - 1 not in indices for index in ordered)


@settings(max_examples=20)
@given(st.integers(0, 99), st.sampled_from([-1e8, -2.0, 0.0]), st.booleans())
def test_closed_tokens_do_not_read_cells_outside_their_region(seed: int, outside: float, apart: bool) -> None:
    q, k, v = sequence(seed, 2)
    (part,) = placed(layout_bias(outside), q, k)
    extended = with_features(q, k, v, [part], [Closing(*part, apart)])
    found = F.scaled_dot_product_attention(*extended, scale=q.shape[-1] ** -0.5)[..., : q.shape[-1]]
    bias = torch.zeros(2, 1, TEXT + CELLS, TEXT + CELLS, dtype=torch.float64)
    for column, group in enumerate(part.gains.tokens):
        cells = part.gains.cells[:, None, :, column].double()
        for index in group:
            bias[:, :, TEXT:, index] = cells
            bias[:, :, index, TEXT:] = cells.clamp(max=0)
            for other in part.gains.tokens[1 - column] if apart else ():
                bias[:, :, index, other] = -SCORE_LIMIT
    scores = (q.double() @ k.double().mT + bias) * q.shape[-1] ** -0.5
    torch.testing.assert_close(found.double(), scores.softmax(-1) @ v.double(), atol=2e-5, rtol=1e-4)
