"""Memory estimate, CSV, loss curve, metadata of the result."""

from __future__ import annotations

import csv
import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cones2.concepts.fingerprint import from_other_encoder
from cones2.concepts.residual_file import load_residual, save_residual
from cones2.errors import ModelError
from cones2.training import session
from cones2.training.history import COLUMNS, CsvLog, loss_curve, read_log
from cones2.training.memory import MemoryEstimate, activation_bytes, check_memory, estimate_memory
from cones2.training.session import prepare_run, result_residual
from cones2.training.views import ViewSettings
from tests.support.tiny_training import photo, quick_config, tiny_model, trainer


def held_by_a_forward_pass(model, conditioning, latent):
    """Bytes of the saved tensors, counted independently: those the graph keeps alive."""
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    rows = conditioning.rows.detach().clone().requires_grad_(True)
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
            flat = x.flatten(2).transpose(1, 2) + conditioning.rows.mean()
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


def test_prepare_run_checks_the_memory(monkeypatch):
    monkeypatch.setattr(session, "check_memory", lambda *_: (_ for _ in ()).throw(ModelError("too large")))
    with pytest.raises(ModelError, match="too large"):
        prepare_run(tiny_model(), [photo()], ViewSettings(64), quick_config())


def test_csv_has_one_row_per_step(tmp_path):
    result = trainer(quick_config(steps=4, held_out=4, evaluate_every=2)).run()
    log = CsvLog(tmp_path / "run.csv", result.history[:2])
    for record in result.history[2:]:
        log.add(record)
    log.close()
    rows = list(csv.DictReader((tmp_path / "run.csv").open()))
    assert tuple(rows[0]) == COLUMNS
    assert read_log(tmp_path / "run.csv") == list(result.history)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in result.history]
    assert [bool(row["held_out"]) for row in rows] == [False, True, False, True]


def test_loss_curve_draws_what_happened():
    falling = [{"step": float(step), "error": 1.0 / step} for step in range(1, 200)]
    judged = [{**record, "held_out": 0.5} if record["step"] % 50 == 0 else record for record in falling]
    blank, plain, both = (np.asarray(loss_curve(history)) for history in ([], falling, judged))
    assert blank.shape == (540, 960, 3)
    red = np.array([0xD1, 0x49, 0x5B])
    held_out = (both == red).all(-1)[:, :700].sum() - (plain == red).all(-1)[:, :700].sum()
    assert held_out > 100
    assert (plain != blank).any()
    assert loss_curve([{"step": 1.0, "error": 0.0}]).size == (960, 540)


def test_the_residual_says_how_it_was_made(tmp_path):
    config = quick_config("paper", "hot dog", steps=3)
    run = trainer(config)
    residual = result_residual(run, run.run(), 5, "tiny", {"resolution": "64"})
    assert from_other_encoder(residual, run.method.frozen.rows) is False
    assert from_other_encoder(residual, run.method.frozen.rows + 1) is True
    loaded = load_residual(save_residual(residual, tmp_path / "hot_dog"))
    assert loaded.subject == "hot dog" and loaded.token_num == 2
    facts = {name: loaded.metadata[name] for name in ("method", "steps", "photos", "base_model", "stopped")}
    assert facts == {"method": "paper", "steps": "3", "photos": "5", "base_model": "tiny", "stopped": "finished"}
