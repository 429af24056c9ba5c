"""`cones2 sample` with regions that are drawn, not painted: typed boxes, layout documents; and on the demo model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cones2.cli import main
from cones2.layout.document import parse_document
from cones2.layout.drawing import PALETTE
from cones2.storage.png import read_settings
from tests.support.sd2_model import WIDTH

pytestmark = pytest.mark.usefixtures("load_each_model_once")

RED = (255, 0, 0)
FAST = ["--steps", "2", "--size", "64x64"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the residual of a dog."""
    (tmp_path / "residuals").mkdir()
    torch.manual_seed(1)
    torch.save(torch.randn(1, WIDTH), tmp_path / "residuals" / "dog.pt")
    return tmp_path


def sample(model: Path, folder: Path, *flags: str) -> int:
    return main(["sample", "--model", str(model), "--out", str(folder / "out"), *FAST, *flags])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_regions_are_typed(model: Path, folder: Path) -> None:
    flags = ["--prompt", "a mug and a dog", "--subject", f"dog={folder / 'residuals' / 'dog.pt'}"]
    flags += ["--region", "dog=0.5,0.25,0.5,0.5@3", "--region", "mug=0,0,0.25,0.25", "--region", "mug=0,0.75,0.25,0.25"]
    assert sample(model, folder, *flags) == 0
    settings = read_settings(Image.open(folder / "out" / "picture_seed0.png"))
    drawn = parse_document(settings["scene"])
    assert [(each.name, each.weight, len(each.shapes)) for each in drawn.subjects] == [("dog", 3, 1), ("mug", 2.5, 2)]
    colors = {
        tuple(color) for color in pixels(folder / "out" / "picture_layout.png")[[160, 20, 240], [240, 20, 20]].tolist()
    }
    assert colors == {PALETTE[0], PALETTE[1]}


def test_a_scene_file_gives_regions_and_residuals(model: Path, folder: Path) -> None:
    dog = {"name": "dog", "residual": "residuals/dog.pt", "strength": 0.5, "shapes": [{"ellipse": [0.5, 0, 0.5, 1]}]}
    (folder / "scene.json").write_text(json.dumps({"version": 1, "subjects": [dog]}))
    flags = ["--prompt", "a mug and a dog", "--scene", str(folder / "scene.json")]
    assert sample(model, folder, *flags) == 0
    settings = read_settings(Image.open(folder / "out" / "picture_seed0.png"))
    assert settings["subjects"] == [{"subject": "dog", "residual": str(folder / "residuals" / "dog.pt")}]
    assert sample(model, folder, *flags, "--no-recurrence", "--guidance-weight", "0") == 0
    first, second = (pixels(folder / "out" / f"picture_seed0{suffix}.png") for suffix in ("", "_2"))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--region", "dog=1,2,3"], '--region "dog=1,2,3" is not a region'),
        (["--region", "=0,0,1,1"], "names no subject"),
        (["--region", "dog=0,0,nan,1"], "far outside the picture"),
        (["--region", "dog=0,0,1,1@nan"], "has the weight nan"),
        (["--region", "cat=0,0,1,1"], '"cat" is not in the prompt'),
        (["--region", "dog=2,2,1,1"], "no region is drawn for any subject (dog)"),
        (["--region", "dog=0,0,1,1", "--layout", "layout.png"], "--layout and colors do not go with --scene"),
        (["--scene", "gone.json"], "there is no layout document at gone.json"),
    ],
)
def test_a_wrong_region_is_one_sentence(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    assert sample(model, folder, "--prompt", "a dog", *flags) == 1
    assert sentence in capsys.readouterr().err


def test_regions_do_not_go_with_a_config(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(model, folder, "--config", "config.json", "--region", "dog=0,0,1,1") == 1
    assert "--scene and --region do not go with --config" in capsys.readouterr().err


def test_a_size_below_the_coarsest_grid_is_refused_in_one_sentence(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(model, folder, "--prompt", "a dog", "--size", "8x8") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "8x8 (width x height) cannot be drawn: both sides must be multiples of 8 pixels, and at least 16" in line


def test_the_demo_model_runs_by_its_name_and_nothing_else_is_said(tmp_path: Path) -> None:
    layout = Image.new("RGB", (64, 64), "white")
    layout.paste(RED, (4, 4, 40, 60))
    layout.save(tmp_path / "layout.png")
    command = [sys.executable, "-m", "cones2", "sample", "--model", "demo", "--prompt", "a dog", "--steps", "1"]
    command += ["--subject", "dog=demo/dog:#ff0000", "--layout", str(tmp_path / "layout.png"), "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "out" / f"picture_{what}.png") for what in ("layout", "seed0")]
    said = [line for line in re.split(r"[\r\n]+", done.stderr) if line.strip()]
    assert said and all(line.startswith("picture: ") for line in said)  # the progress bar alone


def test_the_demo_model_refuses_pictures_that_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sample", "--model", "demo", "--prompt", "a dog", "--out", str(tmp_path / "out")]
    assert main([*command, "--width", "8", "--height", "8"]) == 1
    assert "multiples of 4 pixels, and at least 16" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../dog.pt", "/etc/passwd", "..\\dog.pt", "C:\\dog.pt", "residuals/../../dog.pt"])
def test_a_scene_names_no_file_outside_its_folder(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    dog = {"name": "dog", "residual": name, "shapes": [{"ellipse": [0.5, 0, 0.5, 1]}]}
    (folder / "scene.json").write_text(json.dumps({"version": 1, "subjects": [dog]}))
    assert sample(model, folder, "--prompt", "a dog", "--scene", str(folder / "scene.json")) == 1
    assert "which is not in its folder" in capsys.readouterr().err


def test_a_flag_replaces_the_residual_of_a_scene_whatever_its_case(model: Path, folder: Path) -> None:
    dog = {"name": "dog", "residual": "gone.pt", "shapes": [{"ellipse": [0.5, 0, 0.5, 1]}]}
    (folder / "scene.json").write_text(json.dumps({"version": 1, "subjects": [dog]}))
    flags = ["--subject", f"Dog={folder / 'residuals' / 'dog.pt'}", "--scene", str(folder / "scene.json")]
    assert sample(model, folder, "--prompt", "a dog", *flags) == 0
