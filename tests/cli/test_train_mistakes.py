"""`cones2 train` with odd paths and texts: one sentence before anything is learned, and nothing learned is lost."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cones2.cli import main
from cones2.concepts.residual_file import load_residual
from cones2.training.loop import Trainer
from tests.support.load_once import load_once

pytestmark = pytest.mark.usefixtures("load_each_model_once")


@pytest.fixture
def train(model, tmp_path, monkeypatch, capsys):
    """A function that trains for one update and returns its exit status and its last error line."""
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "0.png")
    base = ["--model", model, "--images", tmp_path / "photos", "--subject", "dog", "--out", tmp_path / "out"]
    quick = ["--resolution", "64", "--steps", "1", "--batch-size", "1", "--held-out", "0", "--device", "cpu"]

    def run(*flags):
        recipe = [] if "--method" in flags else ["--recipe", "photos"]
        status = main([str(part) for part in ["train", *base, *quick, *recipe, *flags]])
        return status, (capsys.readouterr().err.splitlines() or [""])[-1]

    return run


@pytest.fixture
def never_trains(monkeypatch):
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("the training began"))


@pytest.mark.parametrize("flag", ["--model", "--images", "--masks", "--out", "--tokenizer"])
@pytest.mark.parametrize("path", ["n" * 300, "new/" + "/".join(["n" * 200] * 30)])
def test_paths_longer_than_the_file_system_allows(train, tmp_path, never_trains, flag, path):
    (tmp_path / "model.ckpt").touch()
    other = ["--model", tmp_path / "model.ckpt"] if flag == "--tokenizer" else []
    status, line = train(*other, flag, tmp_path / path)
    assert status == 1 and line.startswith("error: ") and line.isprintable()
    assert not (tmp_path / "out").exists() and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("a cat", '"dog" is not in the prompt; its words are: a, cat'), ("a dog \udcff", "is not a whole text")],
)
def test_a_preview_that_cannot_be_sampled_is_found_before_the_training(train, never_trains, prompt, message):
    status, line = train("--preview-every", "1", "--preview-prompt", prompt)
    assert status == 1 and message in line


def test_a_checkpoint_that_cannot_be_deleted_is_one_sentence(train, tmp_path, never_trains):
    (tmp_path / "out" / "dog.checkpoint.pt").mkdir(parents=True)
    status, line = train("--restart")
    assert status == 1 and "dog.checkpoint.pt cannot be deleted: " in line


def test_a_model_whose_name_is_not_utf8_loses_nothing(train, model, tmp_path, monkeypatch):
    monkeypatch.setattr("cones2.cli.training_run.load_model", lambda _, *rest: load_once(model, *rest))
    assert train("--model", tmp_path / "sd\udcff")[0] == 0
    assert load_residual(tmp_path / "out" / "dog.safetensors").metadata["base_model"] == "sd\\udcff"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_one_sentence(train, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(Trainer, "run", fail)
    status, line = train()
    assert status == 1 and line.startswith("error: out of memory at step 1: lower --resolution or --batch-size")
