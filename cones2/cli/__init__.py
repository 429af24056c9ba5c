"""The command line: `python -m cones2 …`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import Cancelled, Cones2Error
from ..messages import MESSAGE_LIMIT, shown
from .config import add_config_parser
from .delta import add_delta_parser
from .evaluate import add_evaluate_parser
from .output import launched, mark, write_line
from .parser import Parser
from .residual import add_residual_parser
from .sample import add_sample_parser
from .train import add_train_parsers

_DESCRIPTION = """\
Cones 2: put several specific subjects into one picture, each where you want it.

A subject is a word of the prompt plus a residual: a ~5 KB file learned from 3–6 photos.
A layout is a picture with one color per subject that says where each belongs.
"""
_EXAMPLES = """\
examples:
  python -m cones2 sample --model MODEL_DIR --config guidance_config.json
  python -m cones2 sample --model MODEL_DIR --prompt "a mug and a dog on the beach" \\
      --subject "mug=mug.safetensors:#ffc000" --subject "dog=dog.safetensors:#ff0000" --layout layout.png
  python -m cones2 train --model MODEL_DIR --images photos/dog --subject dog
  python -m cones2 residual inspect *.safetensors *.pt
  python -m cones2 sample --model MODEL_DIR --delta delta.bin --prompt "photo of a <new1> cat on a sofa"
  python -m cones2 config check guidance_config.json
  python -m cones2 evaluate toyworld --n 48 --subjects 2 3 --arms nothing both --out evaluation
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen one is `args.run(args) -> exit status`."""
    parser: argparse.ArgumentParser = Parser(
        prog="python -m cones2",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cones2 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_sample_parser(commands)
    add_train_parsers(commands)
    add_residual_parser(commands)
    add_delta_parser(commands)
    add_config_parser(commands)
    add_evaluate_parser(commands)
    return parser


class _BesideBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Log lines on stderr that leave a progress bar whole."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record), sys.stderr)


class _SingleLine(logging.Formatter):
    """What is logged, by libraries too, on one printable line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record), MESSAGE_LIMIT)


def _log_on_single_lines() -> None:
    handler = _BesideBars()
    handler.setFormatter(_SingleLine(f"{mark()}%(levelname)s: %(message)s"))
    level = logging.WARNING if launched().is_first else logging.ERROR  # others would warn of the same
    logging.basicConfig(level=level, handlers=[handler])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 bad input or problems found, 2 wrong usage, 130 interrupted."""
    _log_on_single_lines()
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # its remarks are for programmers
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers has one for reading weights
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except Cones2Error as error:
        print(f"{mark()}error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        advice = 'run pip install -e ".[cli]" in this pack\'s folder'
        print(f"{mark()}error: {error.name} is not installed: {advice}", file=sys.stderr)
        return 1
    except (Cancelled, KeyboardInterrupt):
        print(f"{mark()}interrupted", file=sys.stderr)
        return 130
