"""The loop: determinism, accumulation, resume, stops."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from cones2.errors import ConfigError
from cones2.training.batches import LatentBatches, fingerprint
from cones2.training.draws import data_order, draw_timesteps, keyed_generator
from cones2.training.loop import Trainer
from cones2.training.methods import make_method
from tests.support.tiny_training import broken_after, latent_views, quick_config, tiny_model, trainer


def losses(result):
    return [record["loss"] for record in result.history]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("method", ["direct", "paper"])
def test_training_lowers_the_validation_error(method, prediction_type):
    config = quick_config(method, steps=40, held_out=16, evaluate_every=10, batch_size=4)
    run = trainer(config, tiny_model(prediction_type))
    before = run.validate()
    result = run.run()
    assert result.reason == "finished" and result.steps == 40
    assert result.held_out < before
    run.method.residual = lambda: result.residual
    assert run.validate() == pytest.approx(result.held_out)


@pytest.mark.parametrize("method", ["direct", "paper"])
def test_the_seed_decides_everything(method):
    first, again, other = (trainer(quick_config(method, seed=seed)).run() for seed in (3, 3, 4))
    assert losses(first) == losses(again) and torch.equal(first.residual, again.residual)
    assert losses(first) != losses(other)


def test_accumulation_equals_a_larger_batch():
    """The same samples in two halves give the gradient of the whole."""
    model = tiny_model()
    config = quick_config(batch_size=4, steps=1)
    views = latent_views(model)
    ((_, batch),) = LatentBatches(views, config, 27, 1000, model.device)(0, 0)

    def part(pick):
        return replace(
            batch,
            latents=batch.latents[pick],
            noise=batch.noise[pick],
            timesteps=batch.timesteps[pick],
            captions=batch.captions[pick],
            time_ids=batch.time_ids[pick],
        )

    halves = [part(slice(0, 2)), part(slice(2, 4))]
    whole = Trainer(make_method(model, config), lambda step, micro: [(1.0, batch)], config).run()
    split_config = replace(config, accumulation=2)
    split = Trainer(make_method(model, split_config), lambda step, micro: [(1.0, halves[micro])], split_config).run()
    assert losses(split) == pytest.approx(losses(whole), rel=1e-6)
    assert split.history[0]["gradient_norm"] == pytest.approx(whole.history[0]["gradient_norm"], rel=1e-5)
    assert torch.allclose(split.residual, whole.residual, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "direct", "average": 0.9, "held_out": 4, "evaluate_every": 2},
        {"method": "direct", "accumulation": 2},
        {"method": "paper"},
    ],
)
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(tmp_path, changes):
    config = quick_config(steps=7, checkpoint_every=3, **changes)
    whole = trainer(config).run()
    file = tmp_path / "run.pt"
    calls = iter(range(1000))
    stopped = trainer(config, checkpoint=file).run(interrupted=lambda: next(calls) == 4 * config.accumulation + 1)
    assert stopped.reason == "interrupted" and 0 < stopped.steps < 7
    model = tiny_model()
    if config.method == "paper":  # a process that starts again has an untuned encoder
        assert torch.equal(model.encode_text(["dog"]).embeds, tiny_model().encode_text(["dog"]).embeds)
    again = trainer(config, model, checkpoint=file)
    assert again.resume() and again.step == stopped.steps
    result = again.run()
    assert losses(result) == losses(whole)
    assert torch.equal(result.residual, whole.residual)


def test_the_frozen_target_survives_a_resume_from_a_tuned_encoder(tmp_path):
    """The published script measured against the resumed, already tuned encoder."""
    config = quick_config("paper", steps=4)
    file = tmp_path / "run.pt"
    run = trainer(config, checkpoint=file)
    run.run()
    run.save()
    tuned_model = run.method.model
    again = trainer(config, tuned_model, checkpoint=file)
    assert float(again.method.residual().norm()) == 0  # its own target is the tuned encoder
    assert again.resume()
    assert torch.equal(again.method.residual(), run.method.residual())
    assert float(again.method.residual().norm()) > 0


def test_resume_without_a_checkpoint_starts_afresh(tmp_path):
    assert trainer(quick_config(), checkpoint=tmp_path / "none.pt").resume() is False
    assert trainer(quick_config()).resume() is False


@pytest.mark.parametrize(
    "change, message", [({"learning_rate": 0.5}, "learning_rate 0.03 → 0.5"), ({"seed": 9}, "seed 0 → 9")]
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change, message):
    config = quick_config(learning_rate=0.03)
    run = trainer(config, checkpoint=tmp_path / "run.pt")
    run.run()
    run.save()
    with pytest.raises(ConfigError, match=message):
        trainer(replace(config, **change), checkpoint=tmp_path / "run.pt").resume()


def test_a_checkpoint_of_other_photos_is_refused(tmp_path):
    model = tiny_model()
    run = trainer(quick_config(), checkpoint=tmp_path / "run.pt", data=fingerprint(latent_views(model)))
    run.run()
    run.save()
    other = trainer(quick_config(), checkpoint=tmp_path / "run.pt", data=fingerprint(latent_views(model, 2)))
    with pytest.raises(ConfigError, match="other photos"):
        other.resume()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"\x80\x04cos\nsystem\n(S'true'\ntR."])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as a training checkpoint"):
        trainer(quick_config(), checkpoint=tmp_path / "run.pt").resume()


def test_a_finished_constant_rate_run_can_be_continued_for_longer(tmp_path):
    config = quick_config("paper", steps=3)
    first = trainer(config, checkpoint=tmp_path / "run.pt")
    first.run()
    first.save()
    longer = trainer(replace(config, steps=5), checkpoint=tmp_path / "run.pt")
    longer.resume()
    assert losses(longer.run()) == losses(trainer(replace(config, steps=5)).run())


def test_nan_stops_naming_the_step_and_keeps_the_last_good_residual(caplog):
    config = quick_config(steps=10, batch_size=2, schedule="constant")
    good = trainer(replace(config, steps=4)).run()
    with caplog.at_level(logging.ERROR, "cones2"):
        result = trainer(config, broken_after(tiny_model(), 4)).run()
    assert result.reason == "diverged" and result.steps == 4
    assert "step 5" in caplog.text
    assert torch.equal(result.residual, good.residual)


def test_a_learning_rate_that_explodes_ends_in_a_stop_not_in_nan():
    result = trainer(quick_config("paper", steps=50, learning_rate=90.0, max_grad_norm=0.0)).run()
    assert torch.isfinite(result.residual).all()


def test_an_interrupt_is_seen_between_micro_batches(tmp_path):
    asked = []
    run = trainer(quick_config(steps=10, accumulation=4), checkpoint=tmp_path / "run.pt")
    result = run.run(interrupted=lambda: asked.append(1) or len(asked) == 7)
    assert result.reason == "interrupted" and result.steps == 1
    assert (tmp_path / "run.pt").is_file()
    assert all(weight.grad is None for weight in run.method.parameters())


def test_early_stop_returns_the_best_residual():
    config = quick_config(steps=400, learning_rate=5.0, held_out=8, evaluate_every=2, patience=3)
    run = trainer(config)
    result = run.run()
    assert result.reason == "converged" and result.steps < 400
    seen = [record["held_out"] for record in result.history if "held_out" in record]
    assert result.held_out <= min(seen)


def test_half_precision_scales_the_loss():
    """The scaled gradients are halves of what float16 could lose; the result agrees with float32."""
    reference = trainer(quick_config(steps=3)).run()
    run = trainer(quick_config(steps=3, precision="float16"))
    assert run._scaler.get_scale() > 1
    assert losses(run.run()) == pytest.approx(losses(reference), rel=1e-5)


def test_an_overflow_in_half_precision_skips_the_update_and_lowers_the_scale():
    model = tiny_model()
    overflowing = replace(model, predict=lambda *arguments: _Overflow.apply(model.predict(*arguments), 2.0**12))
    run = trainer(quick_config(steps=12, precision="float16"), overflowing)
    before = run._scaler.get_scale()
    result = run.run()
    assert result.reason == "finished" and run._scaler.get_scale() < before
    assert float(result.residual.norm()) > 0


class _Overflow(torch.autograd.Function):
    """Gradients above a limit become infinite, as in float16."""

    @staticmethod
    def forward(context, value, limit):
        context.limit = limit
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient.masked_fill(gradient.abs() > context.limit / gradient.numel(), float("inf")), None


def test_views_of_different_sizes_train_together():
    model = tiny_model()
    views = [*latent_views(model, 2), *encode_wide(model)]
    config = quick_config(batch_size=3, steps=4)
    batches = LatentBatches(views, config, 27, 1000, model.device)
    parts = batches(0, 0)
    assert sum(share for share, _ in parts) == pytest.approx(1) and len(parts) == 2
    assert Trainer(make_method(model, config), batches, config).run().reason == "finished"


def encode_wide(model):
    from cones2.training.batches import encode_views
    from cones2.training.views import ViewSettings, make_views
    from tests.support.tiny_training import photo

    return encode_views(model, make_views([photo(9, (128, 64))], ViewSettings(64, buckets=True, multiple=8)))


def test_every_pass_shows_every_view_once():
    order = data_order(5, 0, 30, 6)
    assert all(sorted(order[first : first + 6]) == list(range(6)) for first in range(0, 30, 6))
    assert [data_order(5, at, 1, 6)[0] for at in range(30)] == order
    assert order[:6] != order[6:12] or order[6:12] != order[12:18]


def test_stratified_timesteps_fill_every_part_of_the_range():
    for seed in range(20):
        drawn = draw_timesteps(keyed_generator(seed, "t"), 8, (0, 1000), stratified=True)
        assert sorted((drawn // 125).tolist()) == list(range(8))
    plain = draw_timesteps(keyed_generator(0, "t"), 500, (200, 400), stratified=False)
    assert int(plain.min()) >= 200 and int(plain.max()) < 400


def test_processes_share_a_pass_without_overlap():
    model = tiny_model()
    config = quick_config(batch_size=1)
    views = latent_views(model, 4)
    parts = [LatentBatches(views, config, 27, 1000, model.device, rank, 2) for rank in (0, 1)]
    means = [view.mean for view in views]
    shown = []
    for step in range(2):
        for part in parts:
            ((_, batch),) = part(step, 0)
            distances = [float((batch.latents[0] - mean).abs().mean()) for mean in means]
            shown.append(distances.index(min(distances)))
    assert sorted(shown) == [0, 1, 2, 3]
