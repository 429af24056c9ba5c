"""`cones2 train` on a full disk: what was learned is kept as long as anything can be kept."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from cones2.cli import main
from cones2.cli.run_log import RunLog
from cones2.concepts.residual_file import load_residual
from cones2.training.history import CsvLog
from tests.support.full_disk import files_of_at_most

pytestmark = pytest.mark.usefixtures("load_each_model_once")


@pytest.fixture
def disk():
    """Limits entered into this stack hold until the training ends: pytest writes files as well."""
    return ExitStack()


@pytest.fixture
def train(model, tmp_path, monkeypatch, capsys, disk):
    """A function that trains for 4 updates into tmp_path/out."""
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "0.png")
    base = ["train", "--model", model, "--images", tmp_path / "photos", "--subject", "dog", "--out", tmp_path / "out"]
    quick = ["--resolution", "64", "--steps", "4", "--batch-size", "1", "--held-out", "0", "--patience", "0"]

    def run(*flags):
        recipe = [] if "--method" in flags else ["--recipe", "photos"]
        with disk:
            return main([str(part) for part in [*base, *quick, *recipe, *flags]])

    return run


@pytest.fixture
def after_step(monkeypatch):
    """A function: have `act` called once, when this step is recorded."""
    original, actions = CsvLog.add, {}

    def add(table, record):
        original(table, record)
        actions.pop(record["step"], lambda: None)()

    monkeypatch.setattr(CsvLog, "add", add)
    return actions.__setitem__


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(train, tmp_path, caplog, disk):
    disk.enter_context(files_of_at_most(1_000_000))  # a checkpoint is larger, the rest is not
    assert train("--checkpoint-every", "2") == 0
    assert "no checkpoint after step 2" in caplog.text
    assert names(tmp_path) == ["dog.csv", "dog.safetensors", "dog_loss.png"]


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_rows_and_pictures_that_cannot_be_written_are_reported_once(train, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(CsvLog, "add", no_space)
    monkeypatch.setattr("cones2.cli.run_log.write_png", no_space)
    assert train("--preview-every", "2") == 0
    assert load_residual(tmp_path / "out" / "dog.safetensors").metadata["steps"] == "4"
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages] == [
        "the CSV file is not complete",
        "a preview is not complete",
        "the loss curve is not complete",
    ]
    assert all("No space left on device" in message for message in messages)


def test_the_residual_is_written_before_the_loss_curve(train, tmp_path, monkeypatch):
    original, there = RunLog.close, []

    def close(log):
        there.append((tmp_path / "out" / "dog.safetensors").exists())
        original(log)

    monkeypatch.setattr(RunLog, "close", close)
    assert train() == 0
    assert there == [True]


def test_an_interrupt_on_a_full_disk_is_still_an_interrupt(train, tmp_path, capsys, after_step, disk):
    after_step(2, lambda: (disk.enter_context(files_of_at_most(0)), interrupt()))
    assert train() == 130
    out = capsys.readouterr().out
    assert "interrupted after step 2; the residual so far is lost: " in out
    assert "there is no checkpoint to continue from" in out
    assert names(tmp_path) == ["dog.csv"]


def test_an_interrupt_on_a_full_disk_continues_from_an_earlier_checkpoint(train, capsys, after_step, disk):
    after_step(3, lambda: (disk.enter_context(files_of_at_most(0)), interrupt()))
    assert train("--checkpoint-every", "2") == 130
    assert "the same command continues" in capsys.readouterr().out
    assert train("--checkpoint-every", "2") == 0
    assert "continues after step 2 of 4" in capsys.readouterr().out


def test_a_finished_residual_that_cannot_be_written_is_an_error_and_the_checkpoint_stays(
    train, tmp_path, capsys, after_step, disk
):
    after_step(4, lambda: disk.enter_context(files_of_at_most(0)))
    assert train("--checkpoint-every", "2") == 1
    out = capsys.readouterr().out
    assert "dog.safetensors cannot be written" in out and "the residual so far is lost" in out
    assert "the same command continues" in out
    assert names(tmp_path) == ["dog.checkpoint.pt", "dog.csv"]


def test_a_residual_whose_place_was_taken_meanwhile_is_kept_beside_it(train, tmp_path, capsys, after_step):
    taken = tmp_path / "out" / "dog.safetensors"
    after_step(2, lambda: taken.write_bytes(b"theirs"))
    assert train() == 1
    assert taken.read_bytes() == b"theirs"
    assert load_residual(tmp_path / "out" / "dog.partial.safetensors").metadata["stopped"] == "finished"
    assert "exists already" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_an_error_before_the_first_update(train, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert train("--model", tmp_path / "no-model") == 1
    assert f"{tmp_path / 'out'} cannot be written: " in capsys.readouterr().err


def test_a_disk_that_is_full_from_the_start_is_an_error_before_the_model_is_loaded(train, tmp_path, capsys, disk):
    disk.enter_context(files_of_at_most(0))
    assert train("--model", tmp_path / "no-model") == 1
    assert f"{tmp_path / 'out'} cannot be written: File too large" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
