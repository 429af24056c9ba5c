"""`cones2 config check`: every problem of guidance configs at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..config_check import check_guidance_configs
from ..errors import ModelError
from ..tokens import Tokenise


def add_config_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `config check FILE… [--tokenizer DIR]`; the chosen action is `args.run(args) -> exit status`."""
    parser = subparsers.add_parser("config", help="check guidance configs before sampling")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="list all problems of guidance configs",
        description="List every problem of the given guidance configs, one per line; exit status 1 when there is one.",
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="guidance_config.json")
    check.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="folder with the model's tokenizer (its vocab.json and merges.txt), or the model's folder; "
        "without it phrases and token positions are not checked",
    )
    check.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    tokenise = None if args.tokenizer is None else _load_tokeniser(args.tokenizer)
    problems = []
    for path in args.files:
        problems += check_guidance_configs(path, tokenise)
    print("\n".join(problems) or "no problems")
    if tokenise is None:
        print("Phrases and token positions were not checked: name the model's tokenizer with --tokenizer DIR.")
    return 1 if problems else 0


def _load_tokeniser(folder: Path) -> Tokenise:
    folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if not (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} holds no tokenizer: neither vocab.json nor tokenizer.json is there")
    from transformers import CLIPTokenizer

    from ..pipelines.text import hf_tokenise

    return hf_tokenise(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
