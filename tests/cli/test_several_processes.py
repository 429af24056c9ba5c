"""`sample` and `train-all` on two processes: the files of one, and what a killed one left is finished."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cones2.cli import main
from cones2.cli.claims import CLAIMS
from cones2.concepts.residual_file import load_residual
from tests.support.processes import launch, start
from tests.support.sd2_model import WIDTH
from tests.support.signals import default_signals

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of two entries with their layout and residual, and photos."""
    folder = tmp_path_factory.mktemp("source")
    Image.new("RGB", (64, 64), (255, 0, 0)).save(folder / "red.png")
    torch.save(torch.ones(1, WIDTH), folder / "dog.pt")
    entry = '{"prompt": "a dog%s", "color_context": {"red": "dog"}, "layout": "red.png", '
    entry += '"residual_dict": {"dog": "dog.pt"}, "subject_list": [["dog", 2]]}'
    (folder / "config.json").write_text(f"[{entry % ''}, {entry % ' in a park'}]")
    (folder / "photos").mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{seed}.png")
    return folder


def sampling(model: Path, source: Path, out: Path, steps: int = 2) -> list[str]:
    flags = f"--num-images 3 --steps {steps} --size 64x64 --device cpu".split()
    return ["sample", "--model", str(model), "--config", str(source / "config.json"), "--out", str(out), *flags]


def files(folder: Path) -> dict[str, str]:
    """The bytes of all pictures."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.png"))}


def residuals(folder: Path) -> dict[str, tuple[bytes, dict[str, str]]]:
    """The vectors of all residuals, bit for bit, and their metadata, which safetensors writes in any order."""
    found = {path.stem: load_residual(path) for path in sorted(folder.glob("*.safetensors"))}
    return {name: (one.tensor.numpy().tobytes(), dict(one.metadata)) for name, one in found.items()}


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def pictures(model: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process draws."""
    out = tmp_path_factory.mktemp("alone")
    assert main(sampling(model, source, out)) == 0
    return files(out)


def test_two_processes_draw_the_pictures_of_one(
    model: Path, source: Path, tmp_path: Path, pictures: dict[str, str]
) -> None:
    done = launch(2, *sampling(model, source, tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert files(tmp_path) == pictures and len(pictures) == 2 * (3 + 2)
    said = [line for line in done.stdout.splitlines() if line.endswith(".png")]
    assert len(said) == 6 and {line[:4] for line in said} <= {"[0] ", "[1] "}, "each picture is drawn once"
    assert not (tmp_path / CLAIMS).exists()
    again = launch(2, *sampling(model, source, tmp_path))
    assert "6 pictures are in" in again.stdout and "6 of them from before" in again.stdout
    assert files(tmp_path) == pictures


@pytest.mark.parametrize(("rank", "number"), [(1, signal.SIGKILL), (0, signal.SIGINT)])
def test_pictures_of_a_stopped_process_are_drawn_by_the_same_command(
    model: Path, source: Path, tmp_path: Path, pictures: dict[str, str], rank: int, number: signal.Signals
) -> None:
    command = sampling(model, source, tmp_path)
    with default_signals():
        stopped = start(rank, 2, *command)
    wait_for(tmp_path, "*_seed*.png")
    stopped.send_signal(number)
    said, _ = stopped.communicate(timeout=300)
    if number == signal.SIGINT:
        assert stopped.returncode == 130 and "the same command goes on" in said
    first = start(0, 2, *command)
    out, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert files(tmp_path) == pictures
    assert "0 of them from before" not in out


def test_continue_draws_only_what_is_missing(
    model: Path, source: Path, tmp_path: Path, pictures: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*sampling(model, source, tmp_path), "--continue"]
    assert main(command) == 0
    (tmp_path / "config_2_seed1.png").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "6 pictures are in" in (said := capsys.readouterr().out) and "5 of them from before" in said
    assert files(tmp_path) == pictures


def test_a_changed_residual_is_drawn_anew(
    model: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = ["--prompt", "a dog", "--subject", f"dog={tmp_path / 'dog.pt'}", "--continue", "--device", "cpu"]
    command = ["sample", "--model", str(model), "--steps", "1", "--size", "64x64", "--out", str(tmp_path), *prompt]
    for value in (1, 2):
        torch.save(torch.full((1, WIDTH), float(value)), tmp_path / "dog.pt")
        assert main(command) == main(command) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["picture_seed0.png", "picture_seed0_2.png"]


def test_a_changed_scene_is_drawn_anew(model: Path, tmp_path: Path) -> None:
    command = ["sample", "--model", str(model), "--steps", "1", "--size", "64x64", "--out", str(tmp_path), "--continue"]
    command += ["--prompt", "a dog", "--scene", str(tmp_path / "scene.json"), "--device", "cpu"]
    for left in (0, 0.5):
        box = {"box": [left, 0, 0.5, 1]}
        (tmp_path / "scene.json").write_text(json.dumps({"subjects": [{"name": "dog", "shapes": [box]}]}))
        assert main(command) == main(command) == 0
    assert sorted(path.name for path in tmp_path.glob("*seed*.png")) == ["picture_seed0.png", "picture_seed0_2.png"]


def training(model: Path, source: Path, folder: Path, names: str = "abcd", steps: int = 3) -> list[str]:
    defaults = f"model: '{model}', out: out, resolution: 64, steps: {steps}, batch_size: 1, held_out: 0"
    text = f"defaults: {{{defaults}, device: cpu, checkpoint_every: 1}}\nsubjects:\n"
    for number, name in enumerate(names):
        images = source / ("photos" if name != "x" else "nowhere")
        text += f"  - {{subject: dog, name: {name}, images: '{images}', seed: {number}}}\n"
    (folder / "all.yaml").write_text(text)
    return ["train-all", str(folder / "all.yaml")]


def test_two_processes_train_the_residuals_of_one(model: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert main(training(model, source, tmp_path / "one")) == 0
    done = launch(2, *training(model, source, tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert residuals(tmp_path / "two" / "out") == residuals(tmp_path / "one" / "out")
    lines = done.stdout.splitlines()
    summary = [line for line in lines if not line.startswith("[")]  # the other process may still be reporting
    assert summary[-1] == "4 of 4 subjects are done"
    assert [line.split()[:3] for line in summary[-5:-1]] == [[name, "finished", "3"] for name in "abcd"]
    assert sum(line.endswith("0 of 3 steps") for line in lines) == 4, "each subject is trained once"


def test_a_subject_of_a_killed_process_continues_from_its_checkpoint(model: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert main(training(model, source, tmp_path / "one", "ab", steps=12)) == 0
    command = training(model, source, tmp_path, "ab", steps=12)
    other = start(1, 2, *command)
    wait_for(tmp_path / "out", "a.checkpoint.pt")
    other.kill()
    other.communicate()
    first = start(0, 2, *command)
    out, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert "a: continues after step" in out
    assert residuals(tmp_path / "out") == residuals(tmp_path / "one" / "out")


def test_a_subject_that_fails_does_not_stop_the_others(model: Path, source: Path, tmp_path: Path) -> None:
    done = launch(2, *training(model, source, tmp_path, "xab"))
    assert done.returncode == 1
    assert "error: x: " in done.stdout and "2 of 3 subjects are done" in done.stdout
    assert set(residuals(tmp_path / "out")) == {"a", "b"}
