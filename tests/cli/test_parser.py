"""What is typed wrongly is one line with the word that was meant, and neither help nor mistakes load torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cones2.cli import build_parser, main
from cones2.evaluation.arms import LISTS as NAMED_LISTS
from cones2.evaluation.arms import NAMED
from cones2.evaluation.choices import ARMS, LISTS
from cones2.published.rules import PUBLISHED_RULES

ROOT = Path(__file__).parents[2]
COMMANDS = (
    [], ["sample"], ["train"], ["train-all"], ["residual"], ["residual", "inspect"], ["residual", "convert"],
    ["delta"], ["delta", "inspect"], ["delta", "convert"], ["delta", "merge"], ["delta", "compress"],
    ["config", "check"], ["evaluate"], ["evaluate", "toyworld"], ["evaluate", "gate"], ["evaluate", "concept101"],
)  # fmt: skip
MISTAKES = (
    ["sampel"], ["sample"], ["sample", "--model", "m"], ["sample", "--model", "m", "--size", "512"],
    ["train", "--steps", "x"], ["residual", "inspect"], ["evaluate", "toyworld", "--shapes", "x"],
)  # fmt: skip
SCRIPT = """
import sys
from cones2.cli import main
for argv in {runs}:
    try:
        main(argv)
    except SystemExit:
        pass
print("MODULES", *sys.modules)
"""


@pytest.mark.parametrize("runs", [[[*command, "--help"] for command in COMMANDS], list(MISTAKES)])
def test_neither_help_nor_mistakes_load_torch(runs: list[list[str]]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(runs=runs)], cwd=ROOT, capture_output=True, text=True)
    modules = done.stdout.rpartition("MODULES")[2].split()
    assert "cones2.cli.train" in modules, done.stderr
    assert not {"torch", "numpy", "PIL", "diffusers", "transformers", "tqdm"} & set(modules)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["sampel"], 'there is no command "sampel": did you mean sample?'),
        (["residual", "inspekt"], 'there is no action "inspekt": did you mean inspect?'),
        (["xyz"], 'there is no command "xyz"; there are: sample, train, train-all, residual, delta, config, evaluate'),
        (["sample", "--modle", "m"], 'there is no flag "--modle": did you mean --model?'),
        (["sample", "--model", "m", "--promt=a dog"], 'there is no flag "--promt": did you mean --prompt?'),
        (["sample"], "the following arguments are required: --model"),
    ],
)
def test_a_mistyped_word_is_one_line_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence} (python -m cones2") and line.endswith("--help shows what there is)")


def test_a_text_that_begins_as_a_flag_is_a_text() -> None:
    args = build_parser().parse_args(["sample", "--model", "m", "--prompt", "--dog on grass"])
    assert args.prompt == "--dog on grass"


def test_flags_may_still_be_shortened() -> None:
    assert build_parser().parse_args(["sample", "--model", "m", "--prom", "a dog"]).prompt == "a dog"


def test_the_names_in_the_help_are_the_engines() -> None:
    assert tuple(NAMED) == ARMS and tuple(NAMED_LISTS) == LISTS
    with pytest.raises(SystemExit):
        build_parser().parse_args(["sample", "--model", "m", "--published-rules", "mine"])
    for name in PUBLISHED_RULES:
        args = build_parser().parse_args(["sample", "--model", "m", "--published-rules", name])
        assert args.published_rules == name
