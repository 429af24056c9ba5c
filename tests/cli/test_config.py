"""`cones2 config check`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from cones2.cli.config import add_config_parser
from cones2.errors import ModelError
from tests.support.clip_vocabulary import write_clip_tokenizer


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_config_parser(parser.add_subparsers())
    args = parser.parse_args(["config", "check", *map(str, arguments)])
    return int(args.run(args))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shape of a shipped config: two of its three typed positions point at the word "a"."""
    names = ("<dog>", "<pet_cat>", "<dog6>")
    for name in names:
        torch.save(torch.ones(1, 1024), tmp_path / f"{name.strip('<>')}.pt")
    image = Image.new("RGB", (90, 30), (255, 0, 0))
    image.paste((0, 255, 0), (30, 0, 60, 30))
    image.paste((0, 0, 255), (60, 0, 90, 30))
    image.save(tmp_path / "layout.png")
    entry = {
        "prompt": "A dog, a pet cat and a dog near a forest.",
        "residual_dict": {name: f"residuals/{name.strip('<>')}.pt" for name in names},
        "color_context": {"255,0,0": ["dog,", 2.5], "0,255,0": ["pet cat", 2.5], "0,0,255": ["dog", 2.5]},
        "layout": "layouts/layout.png",
        "subject_list": [["<dog>", 2], ["<pet_cat>", 4], ["<dog6>", 8]],
    }
    path = tmp_path / "guidance_config.json"
    path.write_text(json.dumps([entry]))
    return path


def test_positions_on_another_word(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip_tokenizer(tmp_path / "model" / "tokenizer")
    for folder in (tmp_path / "model", tmp_path / "model" / "tokenizer"):
        assert run(config, "--tokenizer", folder) == 1
        assert capsys.readouterr().out.splitlines() == [
            f"{config}:",
            '  entry 1: position 4 of "<pet_cat>" is the word "a"; "pet cat" is used (token 5, 6)',
            '  entry 1: position 8 of "<dog6>" is the word "a"; "dog" is used (token 9)',
        ]


def test_without_a_tokenizer(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cones2.diffusers_models.loading.host_tokenizer", lambda: None)
    assert run(config) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no problems",
        "Phrases and token positions were not checked: name the model's tokenizer with --tokenizer DIR.",
    ]


def test_several_files_are_all_checked(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cones2.diffusers_models.loading.host_tokenizer", lambda: None)
    other = tmp_path / "other.json"
    other.write_text('[{"prompt": ""}, {"guidance_steps": 1.5}]')
    assert run(tmp_path / "missing.json", other, config) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "missing.json" in lines[0]
    assert lines[1] == f"{other}:"
    assert [line.startswith("  ") for line in lines[2:]] == [True, True, True, False]


def test_folder_without_a_tokenizer(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no tokenizer: neither vocab\.json nor tokenizer\.json"):
        run(config, "--tokenizer", tmp_path)


@pytest.mark.parametrize(
    "content", ['[{"prompt": "a", "prompt": "b"}]', "[{", "[", "[3]", "[NaN]", "[]", '{"guidance_steps": "x"}']
)
def test_names_of_files_reach_the_terminal_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr("cones2.diffusers_models.loading.host_tokenizer", lambda: None)
    (tmp_path / "du\x1b[2J\np.json").write_text(content)
    assert run(tmp_path / "du\x1b[2J\np.json") == 1
    lines = capsys.readouterr().out.splitlines()
    assert r"du\x1b[2J\np.json" in lines[0] and all(line.isprintable() for line in lines)
