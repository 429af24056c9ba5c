"""Which process this is, where it computes, and how it speaks."""

from __future__ import annotations

import pytest
import torch

from cones2.cli import main
from cones2.cli.output import launched, say
from cones2.cli.processes import own_device
from cones2.cli.run_log import _Lines
from cones2.errors import ConfigError


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


def test_a_process_alone_is_the_first_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert launched() == (0, 1) and launched().is_first
    say("hello")
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.usefixtures("second")
def test_lines_of_several_processes_begin_with_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert main(["config", "check", "/nowhere.json"]) == 1
    assert main(["sample", "--model", "/nowhere", "--prompt", "a dog"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("[1] hello\n")
    assert said.err.splitlines()[-1].startswith("[1] error: ")


@pytest.mark.usefixtures("second")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the sentence comes where there is no GPU")
def test_each_process_takes_its_own_gpu() -> None:
    with pytest.raises(ConfigError, match='device "cuda:1" cannot be used here'):
        own_device("cuda")
    assert own_device("cpu") == own_device(None) == torch.device("cpu")


@pytest.mark.usefixtures("second")
def test_progress_is_a_line_per_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines(total=200, initial=30, desc="dog", unit="step")
    for _ in range(40):
        lines.update()
        lines.set_postfix({"loss": "0.1"})
    assert capsys.readouterr().out.splitlines() == [
        "[1] dog: 30 of 200 steps",
        "[1] dog: 40 of 200 steps, loss 0.1",
        "[1] dog: 60 of 200 steps, loss 0.1",
    ]
