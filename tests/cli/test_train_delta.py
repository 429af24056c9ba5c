"""`cones2 train --method custom-diffusion`: from photos to a delta on the disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from cones2.cli import main
from cones2.custom_diffusion.files import load_delta
from tests.support.killed import kill_when

PHOTOS = Path(__file__).parents[1] / "photos"
QUICK = ["--batch-size", "1", "--checkpoint-every", "1", "--resolution", "32"]


def train(out: Path, *more: str) -> int:
    return main(["train", "--model", "demo", "--method", "custom-diffusion", "--out", str(out), *QUICK, *more])


def of_dog(*more: str) -> list[str]:
    return ["--images", str(PHOTOS / "dog"), "--subject", "dog", "--class-images", str(PHOTOS / "vase"), *more]


def test_photos_become_a_delta_with_its_word(tmp_path: Path) -> None:
    assert train(tmp_path, *of_dog("--steps", "2")) == 0
    delta = load_delta(tmp_path / "dog.safetensors")
    assert [(token.name, token.class_word) for token in delta.tokens] == [("<new1>", "dog")]
    assert delta.metadata["steps"] == "2" and int(delta.metadata["class_pictures"]) > 0
    assert not (tmp_path / "dog.checkpoint.pt").exists()
    assert "prior" in (tmp_path / "dog.csv").read_text().splitlines()[0]


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cones2.cli import delta_training

    class Killed(BaseException):
        """As a process that is killed: nothing after it is done."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(delta_training, "_preview", die)
        with pytest.raises(Killed):
            train(tmp_path, *of_dog("--steps", "3", "--preview-every", "2"))
    assert (tmp_path / "dog.checkpoint.pt").is_file()
    assert train(tmp_path, *of_dog("--steps", "3")) == 0
    assert [line.split(",")[0] for line in (tmp_path / "dog.csv").read_text().splitlines()[1:]] == ["1", "2", "3"]


@pytest.mark.slow
def test_a_run_killed_with_signal_9_ends_with_the_delta_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed, steps = tmp_path / "whole", tmp_path / "killed", of_dog("--steps", "20")
    method = ["train", "--model", "demo", "--method", "custom-diffusion", "--out", str(killed), *QUICK]
    kill_when([sys.executable, "-m", "cones2", *method, *steps], killed / "dog.csv", rows=3)
    assert (killed / "dog.checkpoint.pt").is_file() and not (killed / "dog.safetensors").exists()
    torch.set_num_threads(1)
    assert train(killed, *steps) == train(whole, *steps) == 0
    first, second = (load_delta(folder / "dog.safetensors") for folder in (whole, killed))
    assert all(torch.equal(change.parts()["whole"], second.weights[name].parts()["whole"])
               for name, change in first.weights.items())  # fmt: skip
    assert torch.equal(first.tokens[0].vectors[0], second.tokens[0].vectors[0])


def test_a_concepts_list_trains_several_words_together(tmp_path: Path) -> None:
    concepts = [
        {"instance_prompt": f"a <new{rank}> {word}", "class_prompt": word, "instance_data_dir": str(PHOTOS / word)}
        for rank, word in enumerate(("dog", "vase"), 1)
    ]
    (tmp_path / "both.json").write_text(json.dumps(concepts))
    listing = ["--concepts-list", str(tmp_path / "both.json"), "--no-class-pictures"]
    assert train(tmp_path, *listing, "--steps", "1", "--attention", "all") == 0
    delta = load_delta(tmp_path / "both.safetensors")
    assert [(token.name, token.class_word) for token in delta.tokens] == [("<new1>", "dog"), ("<new2>", "vase")]
    assert delta.is_whole_attention


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "not a list of concepts"),
        ('[{"instance_prompt": "a"}]', "lacks class_prompt"),
        ('[{"colour": 1}]', "there are: instance_prompt"),
        ("[3]", "is not an object"),
    ],
)
def test_a_wrong_concepts_list_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, sentence: str
) -> None:
    (tmp_path / "c.json").write_text(content)
    assert train(tmp_path, "--concepts-list", str(tmp_path / "c.json")) == 1
    assert sentence in capsys.readouterr().err


def test_flags_of_residuals_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, *of_dog("--basis", "4")) == 1
    assert "--basis means nothing" in capsys.readouterr().err


def test_flags_of_custom_diffusion_need_its_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "demo", *of_dog("--out", str(tmp_path))]) == 1
    assert "--class-images is for --method custom-diffusion" in capsys.readouterr().err
