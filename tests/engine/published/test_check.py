"""All problems of a guidance config at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from cones2.published import check_files
from cones2.published.check import check_guidance_configs
from tests.support.small_tokenizer import tokenize

GOOD: dict[str, Any] = {
    "prompt": "a mug and a hotdog on the beach",
    "residual_dict": {"mug": "mug.pt", "hotdog": "hotdog.pt", "barn": "barn.pt"},
    "color_context": {"255,192,0": ["mug", 2.5], "255,0,0": ["hotdog", 2.5]},
    "layout": "layout.png",
    "subject_list": [["mug", 2], ["hotdog", 5]],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(torch.ones(1, 1024), tmp_path / "mug.pt")
    torch.save(torch.ones(2, 1024), tmp_path / "hotdog.pt")
    (tmp_path / "text.pt").write_text("a residual, honestly")
    image = Image.new("RGB", (96, 64), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 40, 60), fill=(255, 192, 0))
    draw.rectangle((50, 0, 90, 60), fill=(255, 0, 0))
    image.save(tmp_path / "layout.png")
    return tmp_path


def check(folder: Path, *entries: dict[str, Any], tokens: bool = True) -> list[str]:
    path = folder / "guidance_config.json"
    path.write_text(json.dumps([GOOD | entry for entry in entries]))
    problems = check_guidance_configs(path, tokenize if tokens else None)
    assert all(problem.startswith(str(path)) for problem in problems)
    return [problem.removeprefix(f"{path}, entry ") for problem in problems]


def test_nothing_to_say(folder: Path) -> None:
    assert check(folder, {}, {}) == []


def test_never_stops_at_the_first(folder: Path) -> None:
    problems = check(
        folder,
        {
            "guidance_wieght": 1,
            "guidance_steps": -3,
            "residual_dict": {"mug": "text.pt", "hotdog": "nowhere.pt"},
            "color_context": {"255,192,0": "mug", "0,0,255": "sea", "0,255,0": "dog"},
            "subject_list": [["mug", 4], ["hotdog", 5]],
        },
        {"prompt": 7, "layout": "text.pt"},
    )
    expected = [
        "1: guidance_steps is -3",
        '1: residual_dict "hotdog" is "nowhere.pt": no such file',
        "2: prompt is 7",
        '1: unknown key "guidance_wieght"',
        '1: residual of "mug"',
        "1: layout layout.png",
        '1: color_context: "sea" is not in the prompt; its words are: a, mug, and, hotdog, on, the, beach',
        '1: color_context: "dog" is not in the prompt',
        '1: position 4 of "mug" is the word "a"; "mug" is used (token 2)',
        "2: layout text.pt",
    ]
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(start)


def test_missing_layout_color_names_color_and_subject(folder: Path) -> None:
    (problem,) = check(folder, {"color_context": {"255,192,0": "mug", "0,0,255": "hotdog"}})
    assert "#0000ff" in problem
    assert '"hotdog"' in problem


def test_each_file_is_read_once_however_often_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def counted(function: Any) -> Any:
        return lambda path, *rest: opened.append(path) or function(path, *rest)

    for name in ("open_layout_picture", "load_residual"):
        monkeypatch.setattr(check_files, name, counted(getattr(check_files, name)))
    other = {"layout": "text.pt", "residual_dict": {"mug": "text.pt", "hotdog": "text.pt"}}
    wrong_color = {"color_context": {"0,0,255": "hotdog"}}
    problems = check(folder, {}, other, wrong_color, other, {}, wrong_color)
    assert sorted(path.name for path in opened) == ["hotdog.pt", "layout.png", "mug.pt", "text.pt", "text.pt"]
    assert [problem.split(":")[0] for problem in problems] == [
        "2",
        "2",
        "2",
        "3",
        "4",
        "4",
        "4",
        "6",
    ]


@pytest.mark.parametrize("word", ["mu\x1b[2Jg", "\x07", "mug\u202e", "w" * 9000, "mug \x1b mug"])
def test_whatever_a_config_says_is_one_short_printable_line(folder: Path, word: str) -> None:
    entry = {
        "prompt": f"a {word} and a hotdog " + " ".join(f"word{number}" for number in range(99)),
        "residual_dict": {word: "hotdog.pt", "\x1b": "text.pt"},
        "color_context": {"255,0,0": word, "255,192,0": f"hotdog {word}"},
        "subject_list": [[word, 1], [word, 2], ["\x1b", 2], [f"{word} \x1b", 3]],
        "\x1b": 1,
    }
    for problem in check(folder, entry):
        assert problem.isprintable() and len(problem) < 600


def test_layout_without_colors(folder: Path) -> None:
    (problem,) = check(folder, {"color_context": {}})
    assert "color table is empty" in problem


def test_subjects_that_leave_each_other_no_place(folder: Path) -> None:
    problems = check(
        folder,
        {
            "prompt": "a pet cat and a mug and a hotdog",
            "color_context": {"255,192,0": "pet cat", "255,0,0": "cat"},
            "subject_list": [],
        },
    )
    assert problems == ['1: color_context: "cat" has no place of its own in the prompt: "pet cat" has it']


def test_subject_that_is_not_in_the_prompt(folder: Path) -> None:
    problems = check(folder, {"prompt": "a hotdog", "color_context": {"255,0,0": "hotdog"}, "subject_list": ["mug"]})
    assert problems == ['1: the prompt has no phrase for the subject "mug"; its words are: a, hotdog']


def test_residual_with_more_rows_than_tokens(folder: Path) -> None:
    problems = check(folder, {"residual_dict": {"mug": "hotdog.pt"}, "subject_list": ["mug"]})
    assert problems == ['1: the residual of "mug" has 2 vectors, but "mug" has 1 token']


def test_without_a_tokenizer_phrases_are_not_judged(folder: Path) -> None:
    broken = {"prompt": "a cat", "subject_list": [["mug", 40]]}
    assert len(check(folder, broken)) == 3
    assert check(folder, broken, tokens=False) == []


def test_a_file_that_is_no_config(folder: Path) -> None:
    (folder / "guidance_config.json").write_text("{")
    (problem,) = check_guidance_configs(folder / "guidance_config.json", None)
    assert "is not valid JSON" in problem
