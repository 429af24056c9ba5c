"""Values of flags: what is wrong with them is one short printable line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cones2.assets import TOYWORLD
from cones2.cli import main
from cones2.cli.arguments import file_path, model_path, number_in, one_of, residual_path, size, whole_in
from cones2.cli.devices import usable_device
from cones2.errors import ConfigError
from cones2.ranges import Range

ESCAPE = "\x1b[2J"


@pytest.mark.parametrize(
    "reader", [number_in(Range(0, 1)), whole_in(Range(0, 1)), one_of(["a"]), size, lambda text: file_path(text + "\0")]
)
@pytest.mark.parametrize("text", [ESCAPE, "x" * 5000, "\udcff"])
def test_what_was_typed_is_escaped_and_cut(reader, text):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        reader(text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "flags",
    [
        ["--size", ESCAPE],
        ["--steps", ESCAPE],
        ["--dtype", ESCAPE],
        [ESCAPE],
        [f"--{ESCAPE}"],
        [f"--n={ESCAPE}"],
        ["x" * 100_000],
    ],
)
def test_no_flag_reaches_the_terminal_as_it_is(capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        main(["sample", "--model", "m", *flags])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.isprintable() and len(line) < 450


@pytest.mark.parametrize("text", ["999936x999936", "16385x64", "0x8", "8", "x", "-8x8", "8x8x8"])
def test_sizes_that_no_picture_has(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a size: .* each 1 to 16384, e\.g\. 768x768"):
        size(text)


def test_a_size_is_height_by_width():
    assert size("64X16384") == (64, 16384)


@pytest.mark.parametrize("name", ["meta", "nonsense", "hpu", "cuda:99", "", "cpu:x", ESCAPE, "\0"])
def test_devices_that_hold_no_numbers_here(name):
    with pytest.raises(ConfigError, match="cannot be used here: ") as caught:
        usable_device(name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--resolution", "64000000000"),
        ("--resolution", "0"),
        ("--preview-every", "-1"),
        ("--checkpoint-every", "-1"),
        ("--crops", "65"),
        ("--token-num", "0"),
        ("--held-out", "4097"),
        ("--steps", "1.5"),
        ("--seed", str(2**63)),
        ("--learning-rate", "nan"),
        ("--average", "1"),
    ],
)
def test_numbers_of_a_training_have_ranges(capsys, flag, value):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--model", "m", "--images", "i", "--subject", "dog", f"{flag}={value}"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {flag}" in line and f'"{value}" is not a ' in line


def test_demo_is_the_model_that_ships_unless_there_is_one_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # as `make demo` leaves it
    assert model_path("demo") == TOYWORLD
    (tmp_path / "demo" / "unet").mkdir()
    assert model_path("demo") == Path("demo")


@pytest.mark.parametrize("name", ["demo/dog", "demo/blue_white_dog", "demo/blue_white_dog.safetensors"])
def test_demo_residuals_have_short_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a file of that name in the current folder would win
    assert residual_path(name) == TOYWORLD / "residuals" / "blue_white_dog.safetensors"


@pytest.mark.parametrize("name", ["dog", "demo/cat", "demo/", "other/dog", "demo/../dog", "\0"])
def test_other_names_are_paths(name):
    assert residual_path(name) == Path(name)
