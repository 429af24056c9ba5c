"""`cones2 sample` end to end on an SD2-shaped model with random weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cones2.cli import main
from cones2.concepts.residual import make_residual
from cones2.concepts.residual_file import save_residual
from cones2.diffusers_models.loading import load_model
from cones2.errors import ModelError
from cones2.storage.png import read_settings
from tests.support.load_once import load_once
from tests.support.sd2_model import WIDTH
from tests.support.signals import default_signals

pytestmark = pytest.mark.usefixtures("load_each_model_once")

RED = (255, 0, 0)
FAST = ["--steps", "2", "--size", "64x64"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config with its residuals and layout in the published arrangement."""
    (tmp_path / "residuals").mkdir()
    (tmp_path / "layouts").mkdir()
    torch.manual_seed(1)
    for name in ("mug", "dog"):
        torch.save(torch.randn(1, WIDTH, requires_grad=True), tmp_path / "residuals" / f"{name}.pt")
    picture = Image.new("RGBA", (96, 96), (255, 255, 255, 255))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((4, 20, 40, 80), fill=(255, 192, 0, 255))
    draw.rectangle((52, 20, 90, 80), fill=(255, 0, 0, 255))
    picture.save(tmp_path / "layouts" / "layout.png")
    write_config(tmp_path, entry())
    return tmp_path


def entry(**changes: object) -> dict[str, object]:
    return {
        "prompt": "a mug and a dog on the beach",
        "residual_dict": {"mug": "residuals/mug.pt", "dog": "residuals/dog.pt", "lake": "residuals/lake.pt"},
        "color_context": {"255,192,0": ["mug", 2.5], "255,0,0": ["dog", 2.5]},
        "guidance_steps": 50,
        "guidance_weight": 0.08,
        "weight_negative": -1e8,
        "layout": "layouts/layout.png",
        "subject_list": [["mug", 2], ["dog", 5]],
    } | changes


def write_config(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "guidance_config.json"
    path.write_text(json.dumps(entries))
    return path


def sample(model: Path, folder: Path, *flags: str, config: bool = True) -> int:
    source = ["--config", str(folder / "guidance_config.json")] if config else []
    return main(["sample", "--model", str(model), *source, "--out", str(folder / "out"), *FAST, *flags])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_every_entry_of_a_config_is_run(model: Path, folder: Path) -> None:
    write_config(folder, entry(), entry(prompt="a dog beside a mug", subject_list=[["dog", 2], ["mug", 5]]))
    assert sample(model, folder, "--num-images", "2") == 0
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == [
        f"guidance_config_{number}_{what}.png" for number in (1, 2) for what in ("grid", "layout", "seed0", "seed1")
    ]


def test_pictures_carry_their_settings_and_are_never_overwritten(model: Path, folder: Path) -> None:
    assert sample(model, folder) == sample(model, folder) == 0
    first, second = (folder / "out" / f"guidance_config_1_seed0{suffix}.png" for suffix in ("", "_2"))
    settings = read_settings(Image.open(first))
    assert settings["prompt"] == "a mug and a dog on the beach"
    assert (settings["seed"], settings["steps"], settings["guidance_steps"]) == (0, 2, 2)
    assert settings["colours"] == {"#ffc000": ["mug", 2.5], "#ff0000": ["dog", 2.5]}
    np.testing.assert_array_equal(pixels(first), pixels(second))


def test_flags_give_the_picture_of_the_config(model: Path, folder: Path) -> None:
    for name in ("mug", "dog"):
        tensor = torch.load(folder / "residuals" / f"{name}.pt", weights_only=True)
        save_residual(make_residual(name, tensor.detach()), folder / f"{name}.safetensors")
    assert sample(model, folder) == 0
    flags = ["--prompt", "a mug and a dog on the beach", "--layout", str(folder / "layouts" / "layout.png")]
    for name, color in (("mug", "255,192,0"), ("dog", "#f00")):
        flags += ["--subject", f"{name}={folder / name}.safetensors@2.5:{color}"]
    assert sample(model, folder, *flags, config=False) == 0
    np.testing.assert_array_equal(
        pixels(folder / "out" / "picture_seed0.png"), pixels(folder / "out" / "guidance_config_1_seed0.png")
    )


def test_residuals_and_layout_each_change_the_picture(model: Path, folder: Path) -> None:
    prompt = ["--prompt", "a mug and a dog on the beach"]
    layout = ["--layout", str(folder / "layouts" / "layout.png"), "--subject", "dog:#f00"]
    residual = ["--subject", f"dog={folder / 'residuals' / 'dog.pt'}"]
    results = []
    for number, flags in enumerate((prompt, prompt + layout, prompt + residual)):
        assert sample(model, folder, *flags, "--out", str(folder / str(number)), config=False) == 0
        results.append(pixels(folder / str(number) / "picture_seed0.png").astype(int))
    assert np.abs(results[0] - results[1]).max() > 0
    assert np.abs(results[0] - results[2]).max() > 0


def test_a_wrong_position_warns_and_uses_the_phrase(
    model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert sample(model, folder) == 0
    write_config(folder, entry(subject_list=[["mug", 2], ["dog", 4]]))
    assert sample(model, folder, "--out", str(folder / "typed")) == 0
    assert any("dog" in record.message and "4" in record.message for record in caplog.records)
    right, typed = (pixels(folder / where / "guidance_config_1_seed0.png") for where in ("out", "typed"))
    np.testing.assert_array_equal(right, typed)
    assert sample(model, folder, "--out", str(folder / "strict"), "--strict-positions") == 0
    assert np.any(pixels(folder / "strict" / "guidance_config_1_seed0.png") != right)


def test_published_configs_of_a_folder_run(model: Path, tmp_path: Path) -> None:
    """Every guidance_config*.json of the folder CONES2_REAL_DATA names; missing residuals get stand-ins."""
    source = os.environ.get("CONES2_REAL_DATA")
    if not source:
        pytest.skip("CONES2_REAL_DATA names no folder of published configs")
    for path in sorted(Path(source).rglob("guidance_config*.json")):
        folder = Path(shutil.copytree(path.parent, tmp_path / path.parent.name, dirs_exist_ok=True))
        for config in json.loads(path.read_text()):
            for residual in config["residual_dict"].values():
                if not (folder / Path(residual).name).exists():
                    torch.save(torch.randn(1, WIDTH), folder / Path(residual).name)
        out = tmp_path / path.stem
        assert (
            main(["sample", "--model", str(model), "--config", str(folder / path.name), "--out", str(out), *FAST]) == 0
        )
        assert (out / f"{path.stem}_1_seed0.png").exists()


@pytest.mark.parametrize("rules", ["cones2", "multi-concept"])
def test_published_rules_run(model: Path, folder: Path, rules: str) -> None:
    assert sample(model, folder, "--published-rules", rules) == 0
    assert (folder / "out" / "guidance_config_1_layout.png").exists()
    assert (folder / "out" / "guidance_config_1_seed0.png").exists()


def test_the_older_size_is_height_by_width_and_says_so(
    model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert sample(model, folder, "--size", "64x128") == 0
    assert Image.open(folder / "out" / "guidance_config_1_seed0.png").size == (128, 64)
    assert any("stretched" in record.message for record in caplog.records)
    assert any("128 wide and 64 high (clearer: --width 128 --height 64)" in each.message for each in caplog.records)


def test_width_and_height_are_named_and_may_come_alone(model: Path, folder: Path) -> None:
    command = ["sample", "--model", str(model), "--steps", "1", "--prompt", "a dog", "--out", str(folder / "out")]
    assert main([*command, "--width", "128", "--height", "64"]) == 0
    assert main([*command, "--width", "32"]) == 0
    side = load_once(model, None, torch.device("cpu"), torch.float32, prediction_type=None).default_size
    pictures = [Image.open(folder / "out" / name) for name in ("picture_seed0.png", "picture_seed0_2.png")]
    assert [picture.size for picture in pictures] == [(128, 64), (32, side)]


def test_a_size_is_not_said_twice(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(model, folder, "--width", "64") == 1
    assert "--size does not go with --width and --height" in capsys.readouterr().err


def test_the_layout_of_a_small_picture_is_enlarged(model: Path, folder: Path) -> None:
    assert sample(model, folder) == 0
    assert Image.open(folder / "out" / "guidance_config_1_layout.png").size == (256, 256)


def test_a_layout_without_colors_names_the_users_own_subject(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", "--model", str(model), "--prompt", "a mug", "--layout", str(folder / "layouts" / "layout.png")]
    assert main([*command, "--subject", "mug=residuals/mug.pt"]) == 1
    assert 'write --subject "mug=residuals/mug.pt:#ff0000"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "flags", "expected"),
    [
        ({"prompt": "a mug and a cat"}, [], "dog"),
        ({"layout": "layouts/absent.png"}, [], "absent.png"),
        ({"residual_dict": {"mug": "residuals/mug.pt", "dog": "residuals/absent.pt"}}, [], "absent.pt"),
        ({"color_context": {"0,0,255": ["dog", 2.5]}}, [], "#0000ff"),
        ({}, ["--size", "60x60"], "multiples of 8"),
        ({}, ["--subject", "dog:#f00"], "--config"),
        ({}, ["--device", "nonsense"], "nonsense"),
        ({}, ["--model", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_sentence(
    model: Path,
    folder: Path,
    changes: dict[str, object],
    flags: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_config(folder, entry(**changes))
    assert sample(model, folder, *flags) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and expected in message
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--guidance-weight", "nan"),
        ("--guidance-weight", "inf"),
        ("--weight-negative", "nan"),
        ("--weight-negative", "5"),
        ("--guidance-steps", "three"),
        ("--tolerance", "nan"),
        ("--cfg", "nan"),
        ("--seed", "99999999999999999999"),
        ("--seed", "-1"),
        ("--num-images", "0"),
        ("--num-images", "100000000"),
        ("--steps", "0"),
        ("--steps", "1000000000"),
        ("--size", "0x64"),
        ("--size", "64"),
        ("--size", "1x10000000"),
        ("--published-rules", "mine"),
    ],
)
def test_flags_out_of_range_are_named(
    model: Path, folder: Path, flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        sample(model, folder, f"{flag}={value}")
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f'argument {flag}: "{value}" is ' in message
    assert not (folder / "out").exists()


def test_results_that_cannot_be_written(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = folder / "guidance_config.json"
    assert sample(model, folder, "--out", str(taken)) == 1
    assert f"error: {taken}" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "empty", "expected"), [("layout", None, "layout"), ("color_context", {}, "colors")])
def test_a_config_without_guidance_says_so(
    model: Path, folder: Path, key: str, empty: object, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_config(folder, entry(**{key: empty}))
    assert sample(model, folder) == 0
    assert any(f"has no {expected}" in record.message for record in caplog.records)


def test_a_file_that_is_no_checkpoint(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = folder / "model.ckpt"
    text.write_text("hello")
    tokenizer = ["--tokenizer", str(model), "--prompt", "a dog"]
    assert main(["sample", "--model", str(text), *tokenizer]) == 1
    message = capsys.readouterr().err
    assert "model.ckpt cannot be read as a checkpoint" in message
    assert "weights_only" not in message  # torch's own advice is to run what is in the file


def test_models_that_cannot_be_sampled(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    unet = load_model(model).unet
    type(unet).from_config(unet.config, in_channels=9).save_pretrained(folder / "unet")
    with pytest.raises(ModelError, match="takes 9 channels"):
        load_model(folder)
    (folder / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match="holds no CLIP tokenizer"):
        load_model(folder)


def test_a_residual_of_another_model_names_both(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.zeros(1, 768), folder / "residuals" / "dog.pt")
    assert sample(model, folder) == 1
    message = capsys.readouterr().err
    assert "768" in message and "1024" in message and "SD 1.x" in message


def test_a_single_file_needs_a_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cones2.diffusers_models.loading._host_candidates", lambda: [])
    (tmp_path / "model.safetensors").write_bytes(b"")
    status = main(["sample", "--model", str(tmp_path / "model.safetensors"), "--prompt", "a dog"])
    assert status == 1 and "--tokenizer" in capsys.readouterr().err


def test_interrupting_keeps_finished_pictures(model: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "cones2", "sample", "--model", str(model), *FAST, "--num-images", "500"]
    command += ["--config", str(folder / "guidance_config.json"), "--out", str(folder / "out")]
    with default_signals():
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((folder / "out").glob("*seed1.png")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "are kept in" in out
    finished = sorted((folder / "out").glob("*seed*.png"))
    assert len(finished) >= 2 and (folder / "out" / "guidance_config_1_grid.png").exists()
    for path in finished:
        Image.open(path).load()
    assert not [path for path in (folder / "out").iterdir() if path.name.startswith(".")]
