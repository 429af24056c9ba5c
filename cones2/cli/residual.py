"""`cones2 residual`: look into residual files, and turn bare tensors into safetensors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ResidualError
from ..messages import shown
from ..storage.files import shown_path
from .arguments import file_path, residual_path

if TYPE_CHECKING:
    from ..concepts.residual_file import ResidualFile

_COLUMNS = ("file", "subject", "tokens", "width", "family", "norm", "numbers", "format", "cut-outs")


def add_residual_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `residual inspect` and `residual convert`; the chosen action is `args.run(args) -> exit status`."""
    parser = subparsers.add_parser("residual", help="inspect and convert residual files")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    inspect = actions.add_parser(
        "inspect",
        help="show what residual files hold",
        description="Show subject, tokens, width, model family and norm (L2 length of the vectors; trained "
        "residuals lie around 10–30) of residual files, and how many cut-outs of the photos they hold. "
        "One line per unreadable file; exit status 1 when there is one.",
    )
    inspect.add_argument(
        "files", nargs="+", type=residual_path, metavar="FILE", help=".safetensors, or .pt from torch.save"
    )
    inspect.set_defaults(run=_inspect)
    convert = actions.add_parser(
        "convert",
        help="write a residual as safetensors with metadata",
        description="Write a residual file as safetensors that names its subject, model family and text encoder.",
    )
    convert.add_argument("input", type=residual_path, metavar="IN", help=".pt from torch.save, or .safetensors")
    convert.add_argument("output", type=file_path, metavar="OUT", help="the .safetensors file to write")
    convert.add_argument("--subject", metavar="PHRASE", help="subject phrase (default: the file's own, or its name)")
    convert.add_argument(
        "--encoder",
        metavar="NAME",
        help="text encoder that it was made for, such as t5xxl (default: the file's own, or what its width tells); "
        "a wrong name lists those of its width",
    )
    convert.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    convert.set_defaults(run=_convert)


def _inspect(args: argparse.Namespace) -> int:
    from ..concepts.residual_file import read_residual_file  # torch is loaded by the run, not for the help

    rows, problems = [], []
    for path in args.files:
        try:
            rows.append(_row(path, read_residual_file(path)))
        except ResidualError as error:
            problems.append(str(error))
    if rows:
        print(table([_COLUMNS, *rows]))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _convert(args: argparse.Namespace) -> int:
    from ..concepts.residual_file import load_residual, save_residual

    residual = load_residual(args.input, args.subject)
    if args.encoder is not None:
        residual = residual.for_encoder(args.encoder)
    path = save_residual(residual, args.output, args.overwrite)
    tokens = "1 token" if residual.token_num == 1 else f"{residual.token_num} tokens"
    print(f'{shown_path(path)}: "{residual.subject}", {tokens}, {residual.width} wide')
    return 0


def _row(path: Path, file: ResidualFile) -> tuple[str, ...]:
    from ..families.family import family_of_key

    residual = file.residual
    family = family_of_key(residual.family)
    return (
        shown(path),
        residual.subject,
        str(residual.token_num),
        str(residual.width),
        family.label if family else "unknown",
        f"{float(residual.tensor.norm()):.2f}",
        str(file.dtype).removeprefix("torch."),
        file.container,
        str(len(residual.cutouts)),
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
