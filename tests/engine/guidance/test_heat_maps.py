"""Heat maps of subjects."""

from __future__ import annotations

import pytest
import torch

from cones2.guidance.heat_maps import AttentionRecorder, share_inside, subject_attention


def inputs(seed=0, batch=2, heads=3, positions=12, tokens=9, width=8):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, heads, positions, width, generator=generator)
    return q, torch.randn(batch, heads, tokens, width, generator=generator)


@pytest.mark.parametrize("biased", [False, True])
def test_attention_equals_formed_softmax(biased):
    q, k = inputs()
    bias = torch.randn(2, 1, 12, 9) if biased else None
    scores = q @ k.mT * 8**-0.5 + (bias if biased else 0)
    expected = scores.softmax(-1)[..., [2, 5]].sum(-1).mean(1)
    assert torch.allclose(subject_attention(q, k, bias, [2, 5]), expected, atol=1e-6)


def test_recorder_averages_layers_and_resizes():
    recorder = AttentionRecorder([(2,), (5, 6)], (6, 8))
    q, k = inputs(1)
    recorder.observe(q, k, None, (3, 4))
    recorder.observe(q, k, None, (3, 4))
    heat = recorder.heat_maps()
    assert heat.shape == (2, 6, 8)
    mean = subject_attention(q, k, None, [2]).mean(0)
    assert float(heat[0].mean()) == pytest.approx(float(mean.mean()), rel=0.1)
    assert (heat >= 0).all() and (heat <= 1).all()


def test_recorder_knows_the_geometry():
    recorder = AttentionRecorder([(0,)], (2, 6))
    q = torch.zeros(1, 1, 12, 4)
    k = torch.zeros(1, 1, 2, 4)
    bias = torch.zeros(1, 1, 12, 2)
    bias[0, 0].view(2, 6, 2)[:, :3, 0] = 20  # the left half looks at token 0
    recorder.observe(q, k, bias, (2, 6))
    heat = recorder.heat_maps()[0]
    assert (heat[:, :3] > 0.99).all()
    assert torch.allclose(heat[:, 3:], torch.tensor(0.5))


def test_nothing_observed_is_zero():
    assert not AttentionRecorder([(1,)], (4, 4)).heat_maps().any()


def test_share_inside_a_region():
    heat = torch.tensor([[3.0, 1.0]])
    left = torch.tensor([[True, False]])
    assert share_inside(heat, left) == pytest.approx(0.75)
    assert share_inside(heat, ~left) == pytest.approx(0.25)
    assert share_inside(torch.ones(2, 4), torch.arange(32).view(4, 8) % 8 < 2) == pytest.approx(0.25)
    assert share_inside(torch.zeros(2, 2), torch.ones(4, 4, dtype=torch.bool)) == 0
