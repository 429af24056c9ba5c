"""`cones2 residual inspect` and `residual convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from cones2.cli.residual import add_residual_parser
from cones2.concepts.residual import Residual, make_residual
from cones2.concepts.residual_file import load_residual, save_residual
from cones2.errors import ResidualError


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_residual_parser(parser.add_subparsers())
    args = parser.parse_args(["residual", *map(str, arguments)])
    return int(args.run(args))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Saved as the published training does: a bare tensor that still requires its gradient."""
    path = tmp_path / "pet_cat.pt"
    torch.save(torch.full((1, 1024), 0.5, requires_grad=True), path)
    return path


def test_inspect_table(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = save_residual(make_residual("hot dog", torch.ones(2, 768)), tmp_path / "hot")
    toy = save_residual(make_residual("toy", torch.ones(1, 16)), tmp_path / "toy")
    assert run("inspect", published, other, toy) == 0
    captured = capsys.readouterr()
    cells = [[cell for cell in line.split("  ") if cell] for line in captured.out.splitlines()]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["file", "subject", "tokens", "width", "family", "norm", "numbers", "format", "cut-outs"],
        [str(published), "pet cat", "1", "1024", "SD 2.x", "16.00", "float32", "torch.save", "0"],
        [str(other), "hot dog", "2", "768", "SD 1.x", "39.19", "float32", "safetensors", "0"],
        [str(toy), "toy", "1", "16", "unknown", "4.00", "float32", "safetensors", "0"],
    ]
    assert captured.err == ""


def test_inspect_shows_the_numbers_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.ones(1, 768, dtype=torch.float16), tmp_path / "cat.pt")
    run("inspect", tmp_path / "cat.pt")
    assert "float16" in capsys.readouterr().out


def test_inspect_lists_every_bad_file(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.pt").touch()
    assert run("inspect", tmp_path / "empty.pt", published, tmp_path / "dog.pt") == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    empty, missing = captured.err.splitlines()
    assert empty == f"{tmp_path / 'empty.pt'}: the file is empty"
    assert str(tmp_path / "dog.pt") in missing and "empty.pt, pet_cat.pt" in missing


@pytest.mark.parametrize("name", ["\x1b]0;title\x07.pt", "two\nlines.pt", "n" * 250 + ".pt"])
def test_names_of_files_cannot_disturb_the_table(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    save_residual(make_residual("dog", torch.ones(1, 768)), tmp_path / "a").rename(tmp_path / name)
    (tmp_path / ("x" + name[1:])).touch()
    assert run("inspect", tmp_path / name, tmp_path / ("x" + name[1:])) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines() + captured.err.splitlines()
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    assert len(lines) == 3


def test_convert(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cat.safetensors"
    assert run("convert", published, out, "--subject", "gray cat") == 0
    assert capsys.readouterr().out == f'{out}: "gray cat", 1 token, 1024 wide\n'
    converted: Residual = load_residual(out)
    assert (converted.subject, converted.family) == ("gray cat", "sd2")
    assert torch.equal(converted.tensor, torch.full((1, 1024), 0.5))


def test_convert_names_the_text_encoder(tmp_path: Path) -> None:
    source = save_residual(make_residual("cat", torch.ones(1, 4096)), tmp_path / "cat")
    assert run("convert", source, source, "--encoder", "umt5xxl", "--overwrite") == 0
    assert (load_residual(source).encoder, load_residual(source).family) == ("umt5xxl", "wan")


def test_convert_refuses_a_text_encoder_of_another_width(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "cat.safetensors"
    with pytest.raises(ResidualError, match=r'1024 wide, does not fit a text encoder "l": .* are: h:-2, t5xxl$'):
        run("convert", published, out, "--encoder", "l")
    assert not out.exists()


def test_convert_keeps_an_existing_file_unless_told(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "cat.safetensors"
    out.write_text("mine")
    with pytest.raises(ResidualError, match="exists already"):
        run("convert", published, out)
    assert out.read_text() == "mine"
    assert run("convert", published, out, "--overwrite") == 0
    assert load_residual(out).subject == "pet cat"


@pytest.mark.parametrize("out", ["", "/", ".."])
def test_convert_needs_the_name_of_a_file(published: Path, out: str) -> None:
    with pytest.raises(ResidualError, match="is a folder: write the name of a file"):
        run("convert", published, out)
