"""Checkpoints: written whole or not at all, and continued only where they belong."""

from __future__ import annotations

import io
import logging
import pickle

import pytest
import torch

from cones2.errors import CheckpointError, Cones2Error
from cones2.training.checkpoint import FORMAT, write_checkpoint
from tests.support.full_disk import files_of_at_most
from tests.support.tiny_training import quick_config, tiny_model, trainer


@pytest.mark.parametrize("limit", [0, 100, 5_000, 20_000, 400_000])
def test_a_full_disk_is_one_sentence_wherever_it_is_noticed(tmp_path, limit):
    path = tmp_path / "run.pt"
    path.write_bytes(b"old")
    with files_of_at_most(limit), pytest.raises(Cones2Error, match=r"run\.pt cannot be written: "):
        write_checkpoint(path, {"large": torch.zeros(100_000), "small": torch.zeros(3_000)})
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_periodic_checkpoint_that_fails_is_a_warning_and_the_one_before_stays(tmp_path, caplog):
    path = tmp_path / "run.pt"
    config = quick_config(steps=4, checkpoint_every=2)
    run = trainer(config, checkpoint=path)
    run.run(interrupted=lambda: run.step == 2)
    with caplog.at_level(logging.WARNING, "cones2"), files_of_at_most(1_000):
        result = run.run()
    assert result.reason == "finished" and result.steps == 4
    assert "no checkpoint after step 4" in caplog.text
    again = trainer(config, checkpoint=path)
    assert again.resume() and again.step == 2


def test_an_interrupt_on_a_full_disk_is_still_an_interrupt(tmp_path, caplog):
    run = trainer(quick_config(), checkpoint=tmp_path / "run.pt")
    with files_of_at_most(0):
        result = run.run(interrupted=lambda: run.step == 3)
    assert result.reason == "interrupted" and result.steps == 3
    assert "no checkpoint after step 3" in caplog.text and not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["numbers", "data", "method", "optimizer", "scaler", "state"])
def test_a_checkpoint_without_one_of_its_parts_is_refused(tmp_path, part):
    path = tmp_path / "run.pt"
    run = trainer(quick_config(), checkpoint=path)
    run.save()
    saved = torch.load(path, weights_only=True)
    del saved[part]
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match="is not a whole training checkpoint"):
        run.resume()


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    torch.save({"format": FORMAT + "0"}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="is not a training checkpoint of this version"):
        trainer(quick_config(), checkpoint=tmp_path / "run.pt").resume()


@pytest.mark.parametrize(
    ("part", "value"), [("method", {}), ("optimizer", {}), ("state", {"steps": 3}), ("state", None), ("method", [1])]
)
def test_a_checkpoint_of_other_contents_is_refused(tmp_path, part, value):
    path = tmp_path / "run.pt"
    run = trainer(quick_config(), checkpoint=path)
    run.save()
    torch.save({**torch.load(path, weights_only=True), part: value}, path)
    with pytest.raises(CheckpointError, match="does not fit this model"):
        run.resume()


def test_a_checkpoint_of_a_narrower_model_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    trainer(quick_config(), checkpoint=path).save()
    with pytest.raises(CheckpointError, match="does not fit this model"):
        trainer(quick_config(), tiny_model(xl=True), checkpoint=path).resume()


def test_settings_that_differ_are_shown_on_one_line(tmp_path):
    path = tmp_path / "run.pt"
    run = trainer(quick_config(), checkpoint=path)
    run.save()
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "numbers": {**saved["numbers"], "subject": "\x1b[2J" + "x" * 300_000}}, path)
    with pytest.raises(CheckpointError, match="other settings") as caught:
        run.resume()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


class Interrupted(io.BytesIO):
    """A stream during whose n-th write the user presses Ctrl-C."""

    def __init__(self, moment):
        super().__init__()
        self.left = moment

    def write(self, data):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().write(data)


@pytest.mark.parametrize("moment", [1, 2, 3, 8])
def test_an_interrupt_during_the_write_is_an_interrupt(tmp_path, monkeypatch, moment):
    write = "cones2.training.checkpoint.write_atomically"
    monkeypatch.setattr(write, lambda path, write, overwrite: write(Interrupted(moment)))
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / "run.pt", {"small": torch.zeros(3)})


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    "value",
    [nested(100), {"a": nested(100)}, torch.ones(3), (torch.ones(3), 1.0), 10**600, "\x1b" * 300_000, [[]]],
    ids=["nested", "nested in a dictionary", "tensor", "tensors", "huge number", "long text", "list"],
)
def test_odd_values_of_a_checkpoint_are_other_settings(tmp_path, value):
    path = tmp_path / "run.pt"
    run = trainer(quick_config(), checkpoint=path)
    run.save()
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "numbers": {**saved["numbers"], "betas": value, "seed": value}}, path)
    with pytest.raises(CheckpointError, match="seed another value → 0") as caught:
        run.resume()
    assert len(str(caught.value).removeprefix(str(path))) < 400
    torch.save({**saved, "data": value}, path)
    with pytest.raises(CheckpointError, match="other photos"):
        run.resume()


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", pickle.dumps(pytest.raises)])
def test_a_foreign_file_is_no_checkpoint_and_nobody_is_told_to_run_it(tmp_path, content):
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"it is damaged, or holds more than tensors$"):
        trainer(quick_config(), checkpoint=tmp_path / "run.pt").resume()
