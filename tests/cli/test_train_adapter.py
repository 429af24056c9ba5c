"""`cones2 train --method mip-adapter`: from labeled pictures to an image adapter on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cones2.cli import main
from cones2.cli.run_log import RunLog
from cones2.picture_adapter.adapter_file import load_adapter
from tests.support.labeled_pictures import write_pictures
from tests.support.picture_adapters import adapter_weights, write_image_encoder
from tests.support.processes import launch


class Killed(BaseException):
    """As a process that is killed: nothing after it is done."""


def die(self: RunLog, record: dict[str, float], add: Callable[[RunLog, dict[str, float]], None] = RunLog.add) -> None:
    """As a run log that a kill ends after the second step."""
    add(self, record)
    if record["step"] == 2:
        raise Killed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    write_pictures(folder / "pictures")
    write_image_encoder(folder / "encoder")
    return folder


def command(folder: Path, out: Path, *more: str) -> list[str]:
    given = ["--images", str(folder / "pictures"), "--image-encoder", str(folder / "encoder"), "--out", str(out)]
    quick = ["--batch-size", "1", "--accumulation", "1", "--resolution", "32", "--checkpoint-every", "1"]
    return ["train", "--model", "demo", "--method", "mip-adapter", *given, *quick, *more]


def train(folder: Path, out: Path, *more: str) -> int:
    return main(command(folder, out, *more))


def test_pictures_become_an_adapter_that_sampling_reads(folder: Path, tmp_path: Path) -> None:
    assert train(folder, tmp_path, "--steps", "1", "--name", "mine") == 0
    assert load_adapter(tmp_path / "mine.safetensors").has_text_factor
    assert not (tmp_path / "mine.checkpoint.pt").exists() and (tmp_path / "mine_loss.png").is_file()
    shown = ["--reference", f"dog={folder / 'pictures' / 'vase.png'}", "--adapter", str(tmp_path / "mine.safetensors")]
    shown += ["--image-encoder", str(folder / "encoder"), "--prompt", "a dog", "--steps", "1"]
    assert main(["sample", "--model", "demo", *shown, "--out", str(tmp_path / "drawn")]) == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 1


@pytest.mark.slow
def test_a_killed_run_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "add", die)
        with pytest.raises(Killed):
            train(folder, tmp_path, "--steps", "3")
    assert (tmp_path / "mip_adapter.checkpoint.pt").is_file()
    assert train(folder, tmp_path, "--steps", "3") == 0
    assert [line.split(",")[0] for line in (tmp_path / "mip_adapter.csv").read_text().splitlines()[1:]] == list("123")


@pytest.mark.slow
def test_two_processes_learn_what_one_does_in_twice_the_passes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    done = launch(2, *command(folder, tmp_path / "two", "--steps", "2", "--device", "cpu"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert train(folder, tmp_path / "one", "--steps", "2", "--device", "cpu", "--accumulation", "2") == 0
    two, one = (load_adapter(tmp_path / name / "mip_adapter.safetensors") for name in ("two", "one"))
    for ours, theirs in zip(two.layers, one.layers, strict=True):
        torch.testing.assert_close(ours.to_v.float(), theirs.to_v.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--subject", "dog"], "--subject means nothing to --method mip-adapter"),
        (["--crops", "9"], "--crops means nothing to --method mip-adapter"),
        (["--name", "x" * 300], "has 300 bytes, at most 200 are allowed"),
        (["--flip"], "--flip means nothing to --method mip-adapter"),
        (["--token", "<new1>"], "--token means nothing to --method mip-adapter"),
        (["--preview-every", "5"], "--preview-every means nothing"),
        (["--learn-projection"], "--learn-projection is for --start-adapter"),
        (["--start-adapter", "a.bin", "--image-tokens", "8"], "--image-tokens is for a new adapter"),
        (["--start-adapter", "none.safetensors"], "there is no image adapter at none.safetensors"),
        (["--image-encoder", "none"], "holds no image encoder"),
        (["--images", "none"], "is not a folder of pictures"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    assert train(folder, tmp_path / "out", *more) == 1
    assert sentence in capsys.readouterr().err


def test_an_adapter_of_another_encoder_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    weights = adapter_weights([64, 128, 128, 128, 64, 64, 128], 128)
    weights["image_proj"]["proj.weight"] = weights["image_proj"]["proj.weight"][:, :20].contiguous()
    flat = {f"{part}.{name}": tensor for part, held in weights.items() for name, tensor in held.items()}
    save_file(flat, tmp_path / "start.safetensors")
    assert train(folder, tmp_path, "--start-adapter", str(tmp_path / "start.safetensors")) == 1
    assert "reads image features 20 wide, but this image encoder gives 24" in capsys.readouterr().err


def test_a_run_is_not_continued_with_another_image_encoder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(RunLog, "add", die)
        train(folder, tmp_path, "--steps", "3")
    other = write_image_encoder(tmp_path / "encoder", 4)
    assert train(folder, tmp_path, "--steps", "3", "--image-encoder", str(other)) == 1
    assert "with other networks" in capsys.readouterr().err


def test_a_broken_picture_ends_the_command_before_the_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    (pictures / "1.png").write_bytes(b"broken")
    assert train(folder, tmp_path / "out", "--images", str(pictures)) == 1
    assert "metadata.jsonl, line 2: 1.png is not a readable picture" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_of_adapters_need_their_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--images", str(tmp_path), "--subject", "dog", "--image-encoder", str(tmp_path)]
    assert main(["train", "--model", "demo", *flags]) == 1
    assert "--image-encoder is for --method mip-adapter" in capsys.readouterr().err


def test_pictures_and_encoder_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--model", "demo", "--method", "mip-adapter"])
    assert "required: --images, --image-encoder" in capsys.readouterr().err
