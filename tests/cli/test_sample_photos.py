"""`cones2 sample --photo-start`: cut-outs from residuals and from flags."""

from __future__ import annotations

import json
import logging
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cones2.cli import main
from cones2.concepts.cutout import cut_out
from cones2.concepts.residual import make_residual
from cones2.concepts.residual_file import save_residual
from cones2.storage.png import read_settings
from tests.support.sd2_model import WIDTH

pytestmark = pytest.mark.usefixtures("load_each_model_once")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A layout, a residual with a cut-out and the same without, and a picture with transparency."""
    layout = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(layout)
    draw.rectangle((4, 20, 40, 80), fill=(255, 192, 0))
    draw.rectangle((52, 20, 90, 80), fill=(255, 0, 0))
    layout.save(tmp_path / "layout.png")
    residual = make_residual("dog", torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1)))
    save_residual(residual, tmp_path / "plain.safetensors")
    photo = torch.zeros(3, 40, 40)
    photo[0] = 1
    save_residual(residual.with_cutouts([cut_out(photo, torch.ones(40, 40))]), tmp_path / "photographed.safetensors")
    own = Image.new("RGBA", (30, 30))
    ImageDraw.Draw(own).ellipse((5, 5, 25, 25), fill=(255, 0, 0, 255))
    own.save(tmp_path / "rex.png")
    return tmp_path


def sample(model: Path, folder: Path, residual: str, *flags: str) -> int:
    dog = f"dog={folder / residual}" if residual else "dog"
    return main(
        ["sample", "--model", str(model), "--prompt", "a mug and a dog on the beach", "--out", str(folder / "out")]
        + ["--layout", str(folder / "layout.png"), "--subject", f"{dog}:#f00", "--subject", "mug:#ffc000"]
        + ["--steps", "2", "--size", "64x64", *flags]
    )


def pixels(folder: Path) -> np.ndarray:
    """Of the newest picture."""
    newest = max((folder / "out").glob("picture_seed0*.png"), key=lambda path: (len(path.name), path.name))
    return np.asarray(Image.open(newest)).astype(int)


def test_without_a_start_cut_outs_change_nothing(model: Path, folder: Path) -> None:
    pictures = []
    for residual in ("plain.safetensors", "photographed.safetensors"):
        assert sample(model, folder, residual) == 0
        pictures.append(pixels(folder))
    np.testing.assert_array_equal(*pictures)


def test_a_start_from_the_residual_s_cut_out_changes_the_picture_and_names_who_has_none(
    model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert sample(model, folder, "photographed.safetensors") == 0
    before = pixels(folder)
    with caplog.at_level(logging.WARNING):
        assert sample(model, folder, "photographed.safetensors", "--photo-start", "8") == 0
    assert np.abs(pixels(folder) - before).max() > 0
    [message] = [message for message in caplog.messages if "cut-out" in message]
    assert message == "picture: no cut-out of mug, which starts from noise"
    settings = read_settings(Image.open(folder / "out" / "picture_seed0_2.png"))
    assert (settings["photo_start"], settings["cutouts"]) == (8, [])


@pytest.mark.parametrize("residual", ["plain.safetensors", "photographed.safetensors", ""])
def test_a_picture_of_one_s_own_is_taken_with_any_residual_or_none(model: Path, folder: Path, residual: str) -> None:
    own = ["--cutout", f"Dog={folder / 'rex.png'}", "--photo-start", "8"]
    assert sample(model, folder, residual, *own) == 0
    with_own = pixels(folder)
    other = ["--photo-start", "8"] if residual == "photographed.safetensors" else []
    assert sample(model, folder, residual, *other) == 0
    assert np.abs(pixels(folder) - with_own).max() > 0
    settings = read_settings(Image.open(folder / "out" / "picture_seed0.png"))
    assert settings["cutouts"] == [["Dog", str(folder / "rex.png")]]


def test_a_region_that_is_typed_takes_a_picture_of_one_s_own(model: Path, folder: Path) -> None:
    command = ["sample", "--model", str(model), "--prompt", "a mug and a dog", "--out", str(folder / "out")]
    command += ["--region", "Dog=0.5,0.2,0.4,0.6", "--steps", "1", "--size", "64x64"]
    assert main(command) == 0
    before = pixels(folder)
    assert main([*command, "--cutout", f"dog={folder / 'rex.png'}", "--photo-start", "8"]) == 0
    assert np.abs(pixels(folder) - before).max() > 0


def test_the_subjects_of_a_config_start_from_photos_too(model: Path, folder: Path) -> None:
    entry = {
        "prompt": "a mug and a dog on the beach",
        "residual_dict": {"rex": "photographed.safetensors"},
        "subject_list": [["rex", 5]],
        "color_context": {"255,0,0": ["dog", 2.5]},
        "layout": "layout.png",
    }
    (folder / "guidance_config.json").write_text(json.dumps([entry]))
    pictures = []
    for number, flags in enumerate(
        ([], ["--photo-start", "8"], ["--photo-start", "8", "--cutout", f"rex={folder / 'rex.png'}"])
    ):
        out = folder / str(number)
        command = ["sample", "--model", str(model), "--config", str(folder / "guidance_config.json")]
        assert main([*command, "--out", str(out), "--steps", "2", "--size", "64x64", *flags]) == 0
        pictures.append(np.asarray(Image.open(out / "guidance_config_1_seed0.png")).astype(int))
    for one, other in combinations(pictures, 2):
        assert np.abs(one - other).max() > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--photo-start", "8"], "picture: --photo-start needs a layout and cut-outs of its subjects"),
        (["--cutout", "dog=rex.png"], "--cutout does nothing without --photo-start"),
        (["--cutout", "cat=rex.png", "--photo-start", "8"], '--cutout "cat": the subjects are dog, mug'),
        (["--cutout", "rex.png", "--photo-start", "8"], '--cutout "rex.png" is not PHRASE=FILE'),
        (["--cutout", "dog=nothing.png", "--photo-start", "8"], "nothing.png"),
        (["--cutout", "dog=clear.png", "--photo-start", "8"], "clear.png: the mask of the photo is empty"),
        (["--cutout", "dog=layout.txt", "--photo-start", "8"], "layout.txt is not a readable picture"),
        (["--photo-start", "8", "--published-rules", "cones2"], "--photo-start does not go with --published-rules"),
        (["--photo-start", "-1"], '"-1" is not a number from 0 to 1000'),
        (["--cutout", "dog=rex.png"] * 7 + ["--photo-start", "8"], '"dog" has more than 6 cut-outs'),
    ],
)
def test_mistakes_are_one_sentence(
    model: Path,
    folder: Path,
    flags: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    Image.new("RGBA", (8, 8)).save(folder / "clear.png")
    (folder / "layout.txt").write_text("no picture")
    try:
        status = sample(model, folder, "plain.safetensors", *flags)
    except SystemExit as exit:
        status = int(exit.code or 0)
    assert status != 0 and message in capsys.readouterr().err
    assert not list(folder.glob("out/*seed*"))
