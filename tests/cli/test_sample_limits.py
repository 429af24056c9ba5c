"""`cones2 sample` with many entries, odd folders, names and texts: one sentence before anything is sampled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from cones2.cli import layouts, main
from cones2.cli.layouts import Layouts
from cones2.diffusers_models.latent_model import DiffusersModel
from tests.support.sd2_model import WIDTH

pytestmark = pytest.mark.usefixtures("load_each_model_once")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{name}.png")
    torch.save(torch.ones(1, WIDTH), tmp_path / "dog.pt")
    return tmp_path


def entry(color: str = "red", subject: str = "dog", **changes: object) -> dict[str, object]:
    return {"prompt": "a dog", "color_context": {color: subject}, "layout": f"{color}.png"} | changes


def sample(model: Path, folder: Path, *flags: object, steps: int = 1, out: object = None) -> int:
    common = ["--model", model, "--device", "cpu", "--steps", steps, "--size", "64x64", "--out", out or folder / "out"]
    return main([str(part) for part in ["sample", *common, *flags]])


def config(folder: Path, *entries: dict[str, object], name: str = "config") -> list[object]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(entries))
    return ["--config", path]


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the layout pictures that are opened, in this order."""
    opened: list[str] = []
    original = layouts.open_layout_picture
    monkeypatch.setattr(layouts, "open_layout_picture", lambda path: opened.append(path.name) or original(path))
    return opened


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many cells of layouts are held when each picture is sampled."""
    cells: list[int] = []
    known: list[Layouts] = []
    make, draw = Layouts.__init__, DiffusersModel.sample

    def init(self: Layouts, *args: object) -> None:
        known.append(self)
        make(self, *args)

    def run(*args: object, **options: object) -> torch.Tensor:
        cells.append(sum(vars(each)["_layout"] is not None for each in known))
        return draw(*args, **options)

    monkeypatch.setattr(Layouts, "__init__", init)
    monkeypatch.setattr(DiffusersModel, "sample", run)
    return cells


def test_equal_layouts_are_read_once(model: Path, folder: Path, pictures: list[str], held: list[int]) -> None:
    assert sample(model, folder, *config(folder, *[entry()] * 3)) == 0
    assert pictures == ["red.png"] and held == [1, 1, 1]


def test_a_picture_with_several_tables_is_opened_once_for_its_check(
    model: Path, folder: Path, pictures: list[str]
) -> None:
    tables = [entry(color_context={"red": ["dog", weight]}) for weight in (1, 2, 1)]
    assert sample(model, folder, *config(folder, *tables, entry("blue"))) == 0
    assert pictures == ["red.png", "blue.png", "red.png", "red.png", "blue.png"]


def test_scenes_are_those_of_entries_alone(model: Path, folder: Path) -> None:
    entries = [entry(), entry("blue", prompt="a dog and a cat"), entry(layout=None, color_context={})]
    assert sample(model, folder, *config(folder, *entries)) == 0
    for number, each in enumerate(entries, 1):
        assert sample(model, folder, *config(folder, each, name=f"alone{number}")) == 0
        together, alone = (
            Image.open(folder / "out" / f"{name}_seed0.png") for name in (f"config_{number}", f"alone{number}_1")
        )
        assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (entry("blue", layout="red.png"), "the layout picture has no #0000ff"),
        (entry(subject="cat"), 'the layout places "cat", which is not in the prompt'),
        (entry(residual_dict={"cat": "dog.pt"}, subject_list=["cat"]), 'no phrase for the subject "cat"'),
    ],
)
def test_a_mistake_in_the_last_entry_is_found_before_the_first_picture(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, object], message: str
) -> None:
    assert sample(model, folder, *config(folder, entry(), entry("blue"), wrong)) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_warnings_are_said_once_for_each_entry(model: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    half = Image.new("RGB", (64, 64), "blue")
    half.paste((255, 0, 0), (0, 0, 32, 64))
    half.save(folder / "half.png")
    twice = entry(color_context={"red": "dog"}, layout="half.png", residual_dict={"dog": "dog.pt"})
    typed = {"subject_list": [["dog", 1]]}
    assert sample(model, folder, *config(folder, twice | typed, entry("blue"), twice | typed)) == 0
    messages = [record.getMessage() for record in caplog.records]
    assert sum("no subject claims" in message for message in messages) == 1
    assert sum('position 1 of "dog"' in message for message in messages) == 2


@pytest.mark.parametrize("out", ["n" * 300, "/".join(["n" * 200] * 30), "dog.pt", "dog.pt/out"])
def test_a_folder_that_cannot_be_written_is_found_before_sampling(
    model: Path, folder: Path, held: list[int], capsys: pytest.CaptureFixture[str], out: str
) -> None:
    assert sample(model, folder, "--prompt", "a dog", out=folder / out) == 1
    assert "cannot be written: " in capsys.readouterr().err
    assert held == []


def test_pictures_of_a_config_with_a_long_name_are_written(model: Path, folder: Path) -> None:
    assert sample(model, folder, *config(folder, entry(), name="c" * 250)) == 0
    assert sorted(os.listdir(folder / "out")) == [f"{'c' * 200}_1_{what}.png" for what in ("layout", "seed0")]


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb"])
def test_names_reach_the_terminal_escaped(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert sample(model, folder, *config(folder, entry(), name=name), out=folder / name) == 0
    captured = capsys.readouterr()
    lines = [line for text in captured for part in text.splitlines() for line in part.split("\r")]
    assert all(line.isprintable() for line in lines) and len([line for line in lines if "_seed0.png" in line]) == 1


@pytest.mark.parametrize("flag", ["--prompt", "--negative-prompt"])
def test_half_of_a_surrogate_pair_is_one_sentence(
    model: Path, folder: Path, held: list[int], capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert sample(model, folder, "--prompt", "a dog", flag, "d\udcffog") == 1
    assert 'error: "d\\udcffog" is not a whole text' in capsys.readouterr().err
    assert held == []


@pytest.mark.parametrize("flag", ["--model", "--tokenizer", "--config", "--layout"])
def test_paths_longer_than_the_file_system_allows(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    (folder / "model.ckpt").touch()
    drawn = ["--prompt", "a dog", "--subject", "dog:red", "--layout", folder / "red.png"]
    flags = ["--model", folder / "model.ckpt", *([] if flag == "--config" else drawn)]
    assert sample(model, folder, *flags, flag, "n" * 300) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 249968001024 bytes"),
    ],
)
def test_too_large_a_picture_is_one_sentence(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(DiffusersModel, "sample", fail)
    assert sample(model, folder, "--prompt", "a dog") == 1
    assert "error: out of memory: choose a smaller --width and --height" in capsys.readouterr().err
