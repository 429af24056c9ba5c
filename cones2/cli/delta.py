"""`cones2 delta`: look into Custom Diffusion files, convert, merge and compress them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import DeltaError
from ..messages import shown
from ..ranges import DELTA_STRENGTH, Range
from .arguments import file_path, model_path, number_in, with_strength

TARGETS = ("cones2", "repository", "compvis", "diffusers", "lora")  # the keys of custom_diffusion.files.TARGETS
_RATIO = Range(1e-6, 1)
_MODEL_HELP = "the base model: a diffusers folder or a checkpoint file; demo: the small one that ships"


def add_delta_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `delta inspect`, `convert`, `merge` and `compress`; the chosen one is `args.run(args) -> exit status`."""
    parser = subparsers.add_parser("delta", help="inspect, convert, merge and compress Custom Diffusion files")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_inspect(actions)
    _add_convert(actions)
    _add_merge(actions)
    _add_compress(actions)


def split_strength(text: str, flag: str = "--delta") -> tuple[Path, float]:
    """Read "cat.bin" or, with a strength, "cat.bin@0.8". Raises DeltaError naming the flag for one out of range."""
    path, strength = with_strength(text)
    if strength not in DELTA_STRENGTH:
        raise DeltaError(f'{flag} "{shown(text, 80)}" has a strength that is not a number from {DELTA_STRENGTH}')
    return file_path(path), strength


def _add_inspect(actions: Any) -> None:
    parser = actions.add_parser(
        "inspect",
        help="show what Custom Diffusion files hold",
        description="Show tokens with their class words, model family, layers, what is stored (whole weights, "
        "differences, low rank), size and format of Custom Diffusion files of any kind: delta.bin, CompVis .ckpt, "
        "compressed ones, those of diffusers, whole checkpoints. Nothing in them is executed. One line per unreadable "
        "file; exit status 1 when there is one.",
    )
    parser.add_argument("files", nargs="+", type=file_path, metavar="FILE", help="file, or a folder of diffusers")
    parser.set_defaults(run=_inspect)


def _add_convert(actions: Any) -> None:
    parser = actions.add_parser(
        "convert",
        help="write a delta in another format",
        description="Write a Custom Diffusion file as safetensors with metadata, or in another program's format: "
        "repository (delta.bin), compvis (.ckpt), diffusers (weights and a file per token), or lora, an ordinary "
        "LoRA without the tokens.",
    )
    parser.add_argument("input", type=file_path, metavar="IN")
    parser.add_argument("output", type=file_path, metavar="OUT")
    parser.add_argument("--to", choices=TARGETS, default="cones2", help="(default: %(default)s)")
    parser.add_argument("--base", type=model_path, metavar="MODEL", help=_MODEL_HELP)
    parser.add_argument(
        "--store",
        choices=("whole", "difference"),
        help="turn what is stored into whole weights or differences to --base (default: what the format needs)",
    )
    parser.add_argument(
        "--token-file", action="append", default=[], type=file_path, metavar="FILE", help="a token of its own file"
    )
    parser.add_argument(
        "--name", action="append", default=[], metavar="TOKEN", help="a new name per token, in their order"
    )
    parser.add_argument(
        "--class-word", action="append", default=[], metavar="WORD", help="what each token is, in their order"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.set_defaults(run=_convert)


def _add_merge(actions: Any) -> None:
    parser = actions.add_parser(
        "merge",
        help="several concepts in one file",
        description="Merge Custom Diffusion files so that each concept's words keep their keys and values and ordinary "
        "captions change least (constrained merge), or as the sum of their differences. Tokens of one name get others.",
    )
    parser.add_argument("files", nargs="+", type=file_path, metavar="FILE")
    parser.add_argument("--model", required=True, type=model_path, metavar="MODEL", help=_MODEL_HELP)
    parser.add_argument("--out", required=True, type=file_path, metavar="OUT", help="the .safetensors file to write")
    parser.add_argument(
        "--class-word", action="append", default=[], metavar="WORD", help="what each token is, over all files in order"
    )
    parser.add_argument(
        "--captions", type=file_path, metavar="FILE", help="ordinary captions, one per line (default: 200 that ship)"
    )
    parser.add_argument("--how", choices=("constrained", "sum"), default="constrained", help="(default: %(default)s)")
    parser.add_argument(
        "--tokenizer", type=file_path, metavar="DIR", help="CLIP tokenizer for a single-file checkpoint"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.set_defaults(run=_merge)


def _add_compress(actions: Any) -> None:
    parser = actions.add_parser(
        "compress",
        help="write a smaller file",
        description="Keep the largest singular values of each weight's difference to the base model.",
    )
    parser.add_argument("input", type=file_path, metavar="IN")
    parser.add_argument("output", type=file_path, metavar="OUT")
    parser.add_argument("--base", required=True, type=model_path, metavar="MODEL", help=_MODEL_HELP)
    parser.add_argument(
        "--ratio",
        type=number_in(_RATIO),
        default=0.6,
        help="share of the singular values' sum to keep; 0.6 makes a file about a fifth as large (default: 0.6)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.set_defaults(run=_compress)


def _inspect(args: argparse.Namespace) -> int:
    from .delta_commands import inspect  # torch is loaded by the run, not for the help

    return inspect(args.files)


def _convert(args: argparse.Namespace) -> int:
    from .delta_commands import convert

    return convert(args)


def _merge(args: argparse.Namespace) -> int:
    from .delta_commands import merge_files

    return merge_files(args)


def _compress(args: argparse.Namespace) -> int:
    from .delta_commands import compress_file

    return compress_file(args)
