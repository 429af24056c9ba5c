"""The additive term: exact standard deviation, bias in every dtype, each image on its own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.guidance.cross_attention import LayoutBias, guided_attention, layout_bias, score_std
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import Box, layout_from_boxes
from cones2.sampling.noise import log_growth

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
WIDTHS = st.sampled_from([8, 40, 64, 80, 160])


def qk(seed, batch=1, heads=2, positions=64, tokens=77, width=40, offset=0.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, heads, positions, width, generator=generator) + offset
    k = torch.randn(batch, heads, tokens, width, generator=generator) * 1.5 - offset / 2
    return q.to(dtype), k.to(dtype)


def formed_scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q.double() @ k.double().mT


def naive_bias(q, k, weights, rows, strength, sigma):
    """The published formula on formed scores, in double precision, image by image."""
    bias = torch.zeros(q.shape[0], 1, q.shape[2], k.shape[2], dtype=torch.float64)
    for image in range(q.shape[0]):
        std = formed_scores(q[image], k[image]).std()
        term = strength * weights.double() * math.log(1 + sigma**2) * std / math.sqrt(q.shape[-1])
        bias[image, 0][:, rows] = term
    return bias


@settings(max_examples=60)
@given(
    st.integers(0, 1000), st.integers(1, 3), st.integers(1, 4), st.integers(1, 96), st.integers(1, 154), WIDTHS,
    st.sampled_from([0.0, 0.5, 5.0]),
)  # fmt: skip
def test_std_equals_torch_std_of_formed_scores(seed, batch, heads, positions, tokens, width, offset):
    q, k = qk(seed, batch, heads, positions, tokens, width, offset)
    if heads * positions * tokens < 2:
        return
    expected = formed_scores(q, k).flatten(1).std(-1)
    assert torch.allclose(score_std(q, k).double(), expected, rtol=1e-4, atol=1e-5)
    joint = score_std(q, k, joint_batch=True)
    assert joint.shape == (batch,)
    assert torch.allclose(joint.double(), formed_scores(q, k).std().expand(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 4.0])
def test_std_sums_in_float32_for_every_dtype(dtype, offset):
    q, k = qk(1, positions=1024, width=64, offset=offset, dtype=dtype)
    expected = formed_scores(q, k).std()
    assert score_std(q, k).dtype == torch.float32
    assert float(score_std(q, k)) == pytest.approx(float(expected), rel=1e-4)


def test_std_of_large_half_precision_scores_is_finite():
    q, k = qk(2, positions=256, dtype=torch.float16)
    q, k = q * 100, k * 100  # scores beyond 65504
    assert float(score_std(q, k)) == pytest.approx(float(formed_scores(q, k).std()), rel=1e-4)


def test_std_of_a_single_score_is_zero():
    assert score_std(torch.ones(1, 1, 1, 8), torch.ones(1, 1, 1, 8)).tolist() == [0.0]


@pytest.mark.parametrize("other", ["per head", "scaled", "whole batch"])
def test_other_deviations_differ(other):
    q, k = qk(3, batch=2, heads=4)
    q[:, 1] *= 3
    q[1] *= 2
    scores = formed_scores(q, k)
    wrong = {
        "per head": scores.flatten(2).std(-1).mean(-1),
        "scaled": (scores * q.shape[-1] ** -0.5).flatten(1).std(-1),
        "whole batch": scores.std().expand(2),
    }[other]
    assert ((score_std(q, k).double() / wrong - 1).abs() > 0.05).any()


@settings(max_examples=30)
@given(st.integers(0, 100), st.floats(0, 30), st.floats(0, 1), st.sampled_from([-1e8, -2.0]))
def test_bias_equals_the_formula(seed, sigma, strength, negative):
    q, k = qk(seed, batch=2, positions=24)
    weights = torch.full((24, 3), negative)
    weights[::3] = 2.5
    bias = layout_bias(q, k, weights, [2, 5, 6], strength, log_growth(sigma))
    expected = naive_bias(q, k, weights, [2, 5, 6], strength, sigma)
    assert bias.shape == expected.shape
    assert torch.allclose(bias.double(), expected, rtol=1e-4, atol=1e-6)


def test_rows_that_nobody_steers_get_exactly_zero():
    q, k = qk(4)
    bias = layout_bias(q, k, torch.full((64, 2), -1e8), [3, 70], 0.08, 14.6)
    others = [row for row in range(77) if row not in (3, 70)]
    assert not bias[..., others].any()
    assert (bias[..., [3, 70]] < -1e6).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_is_finite_in_every_dtype(dtype):
    q, k = qk(5, dtype=dtype)
    weights = torch.full((64, 1), -1e8)
    weights[:8] = 2.5
    bias = layout_bias(q, k, weights, [2], 0.08, 14.6)
    assert bias.dtype == dtype
    assert torch.isfinite(bias).all()
    out = guided_attention(q, k, torch.randn(1, 2, 77, 40).to(dtype), bias)
    assert torch.isfinite(out).all()


def test_published_weights_overflow_half_precision():
    assert torch.tensor(-1e8).half().isinf()
    assert not layout_bias(*qk(6, dtype=torch.float16), torch.full((64, 1), -1e8), [0], 0.08, 5.0).isinf().any()


def test_every_steered_row_masked_out_stays_finite_in_half():
    """With −inf in all columns of a position its softmax would be NaN."""
    q, k = qk(7, tokens=3, dtype=torch.float16)
    bias = layout_bias(q, k, torch.full((64, 3), -1e8), [0, 1, 2], 0.08, 14.6)
    assert torch.isfinite(guided_attention(q, k, torch.randn(1, 2, 3, 40).half(), bias)).all()
    published = formed_scores(q, k) + torch.full((64, 3), -1e8).half()
    assert published.softmax(-1).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_outside_a_region_the_token_gets_nothing(dtype):
    q, k = qk(8, dtype=dtype)
    weights = torch.full((64, 1), -1e8)
    weights[:8] = 2.5
    bias = layout_bias(q, k, weights, [2], 0.08, 14.6)
    token = torch.zeros(1, 2, 77, 40, dtype=dtype)
    token[:, :, 2] = 1
    probability = guided_attention(q, k, token, bias)[..., 0]
    assert (probability[..., 8:] < 1e-6).all()
    plain = guided_attention(q, k, token, None)[..., 0]
    assert (probability[..., :8].float().mean() > 2 * plain[..., :8].float().mean()).all()


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(2, 4))
def test_an_image_of_a_batch_gets_what_it_gets_alone(seed, batch):
    q, k = qk(seed, batch=batch, positions=20)
    q = q * torch.arange(1, batch + 1).view(-1, 1, 1, 1)
    weights, sigmas = torch.full((20, 1), 2.5), torch.arange(1.0, batch + 1)
    together = layout_bias(q, k, weights, [2], 0.08, log_growth(sigmas))
    for image in range(batch):
        alone = layout_bias(
            q[image : image + 1], k[image : image + 1], weights, [2], 0.08, log_growth(float(sigmas[image]))
        )
        assert torch.allclose(together[image], alone[0], rtol=1e-5)
    joint = layout_bias(q, k, weights, [2], 0.08, log_growth(sigmas), joint_batch=True)
    assert not torch.allclose(joint, together, rtol=1e-2)


def test_no_noise_no_bias():
    assert not layout_bias(*qk(9), torch.full((64, 1), -1e8), [2], 0.08, 0.0).any()


def test_fused_attention_equals_formed_attention():
    q, k = qk(10)
    v = torch.randn(1, 2, 77, 40)
    weights = torch.full((64, 1), -1e8)
    weights[20:40] = 2.5
    scores = formed_scores(q, k)
    scores[..., 2] += 0.08 * weights[:, 0].double() * math.log(1 + 3.0**2) * scores.std()
    expected = (scores * 40**-0.5).softmax(-1) @ v.double()
    ours = guided_attention(q, k, v, layout_bias(q, k, weights, [2], 0.08, log_growth(3.0)))
    assert torch.allclose(ours.double(), expected, atol=1e-5)


def test_guidance_takes_the_maps_of_the_grid():
    layout = layout_from_boxes([Box(0, 0, 0.5, 1)], ["dog"], 32, 32, unit="fractions")
    guidance = LayoutBias(weight_maps(layout, [[(2,)]]))
    q, k = qk(11, positions=32)
    wide, tall = guidance.bias(q, k, (4, 8), 3.0), guidance.bias(q, k, (8, 4), 3.0)
    assert not torch.equal(wide, tall)
    assert (wide[0, 0, :, 2].view(4, 8)[:, :3] > 0).all()
    assert (tall[0, 0, :, 2].view(8, 4)[:, 3] < 0).all()
