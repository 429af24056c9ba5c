"""Memory that a run needs, foreseen."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from torch import nn

from cones2.errors import ModelError
from cones2.training.memory import MemoryEstimate, activation_bytes, check_memory, estimate_memory
from tests.support.tiny_training import quick_config, tiny_model


def held_by_a_forward_pass(model, conditioning, latent):
    """Bytes of the saved tensors, counted independently: those the graph keeps alive."""
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    rows = conditioning.embeds.detach().clone().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model.predict(latent[None], torch.zeros(1, dtype=torch.long), replace_rows(conditioning, rows), None)
    total = sum(tensor.untyped_storage().nbytes() for tensor in seen.values())
    del output
    gc.collect()
    return total


def replace_rows(conditioning, rows):
    return type(conditioning)(rows, conditioning.pooled)


def test_activations_of_a_large_latent_are_foreseen_from_small_ones():
    model = tiny_model()
    conditioning = model.encode_text(["a dog"]).detached()
    latent = torch.zeros(4, 48, 64)
    foreseen = activation_bytes(model, conditioning, latent)
    assert foreseen == pytest.approx(held_by_a_forward_pass(model, conditioning, latent), rel=0.05)


def test_attention_that_keeps_its_scores_grows_with_the_square():
    class Scores(nn.Module):
        def forward(self, x, timesteps, conditioning, sizes):
            flat = x.flatten(2).transpose(1, 2) + conditioning.embeds.mean()
            return ((flat @ flat.transpose(1, 2)).softmax(-1) @ flat).transpose(1, 2).view_as(x)

    model = replace(tiny_model(), predict=Scores())
    conditioning = model.encode_text(["a dog"]).detached()
    small, large = (activation_bytes(model, conditioning, torch.zeros(4, side, side)) for side in (32, 64))
    assert 12 < large / small < 17


def test_the_paper_method_needs_the_optimizer_of_the_text_encoder():
    model = tiny_model()
    conditioning = model.encode_text(["dog"]).detached()
    latent = torch.zeros(4, 8, 8)
    weights = sum(weight.numel() for weight in model.text_weights.values())
    paper, direct = (
        estimate_memory(model, quick_config(method), conditioning, latent) for method in ("paper", "direct")
    )
    assert paper.trainable == 12 * weights and direct.trainable == 0
    assert paper.activations == direct.activations > 0


def test_a_run_that_cannot_fit_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr("cones2.training.memory.free_memory", lambda device: 2**30)
    check_memory(MemoryEstimate(2**20, 0, 0), torch.device("cpu"), "direct")
    with pytest.raises(ModelError, match=r"needs about 3\.\d GB more .* but 1\.0 GB are free: use the direct method"):
        check_memory(MemoryEstimate(2**30, 2**31, 0), torch.device("cpu"), "paper")
