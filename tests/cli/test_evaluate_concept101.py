"""`cones2 evaluate concept101` from folders to a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cones2.cli import main

pytest.importorskip("transformers")

from tests.support.tiny_similarity import save_clip, save_dino


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    colors = {"dog": ("red", "orange"), "mug": ("blue",), "cat": ("gray",)}
    for name, photos in colors.items():
        (tmp_path / "references" / name).mkdir(parents=True)
        for index, color in enumerate(photos):
            Image.new("RGB", (40, 30), color).save(tmp_path / "references" / name / f"{index}.png")
    (tmp_path / "images").mkdir()
    picture = Image.new("RGB", (40, 40), "red")
    picture.paste("blue", (20, 0, 40, 40))
    picture.save(tmp_path / "images" / "a.png")
    regions = {"dog": [0, 0, 0.5, 1], "mug": [0.5, 0, 0.5, 1]}
    said = {"prompt": "a photo of a dog and a mug", "subjects": ["dog", "mug"], "regions": regions}
    (tmp_path / "images" / "captions.json").write_text(json.dumps({"a.png": said}))
    folders = {name: tmp_path / name for name in ("images", "references", "clip", "dino", "out")}
    save_clip(folders["clip"])
    save_dino(folders["dino"])
    return folders


def arguments(folders: dict[str, Path]) -> list[str]:
    flags = [text for name, folder in folders.items() for text in (f"--{name}", str(folder))]
    return ["evaluate", "concept101", *flags, "--device", "cpu"]


def test_the_figures_are_printed_and_written(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folders)) == 0
    said = capsys.readouterr().out
    assert (folders["out"] / "report.md").read_text() in said
    data = json.loads((folders["out"] / "report.json").read_text())
    assert set(data["subjects"]["clip_i"]) == {"dog", "mug"}  # the cat is in no picture
    assert -1 <= data["clip_i"] <= 1 and 0 <= data["clip_t"] <= 2.5
    for network in ("clip", "dino"):  # the regions are plain pictures of the photos' colors
        confusion = data["confusion"][network]
        assert confusion["mistaken"]["n"] == 2 and confusion["mistaken"]["hits"] == 0
        assert confusion["margin"] == pytest.approx(confusion["own"] - confusion["other"])


def test_a_rerun_gives_the_same_bytes(folders: dict[str, Path]) -> None:
    assert main(arguments(folders)) == 0
    before = (folders["out"] / "report.json").read_bytes()
    assert main(arguments(folders)) == 0
    assert (folders["out"] / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("images", "error: there is no folder of pictures at"),
        ("references", "error: there is no folder of references at"),
        ("clip", "error: there is no folder of a clip model at"),
        ("dino", "error: there is no folder of a vit model at"),
    ],
)
def test_a_missing_folder_is_one_sentence(
    folders: dict[str, Path], missing: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments({**folders, missing: folders[missing] / "none"})) == 1
    said = capsys.readouterr().err
    assert sentence in said and len([line for line in said.splitlines() if line.startswith("error")]) == 1
