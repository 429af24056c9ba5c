"""`cones2 config check`: every problem of guidance configs at once."""

from __future__ import annotations

import argparse

from ..diffusers_models.loading import host_tokenizer, load_tokenizer
from ..diffusers_models.text import clip_tokenize
from ..published.check import check_guidance_configs
from .arguments import file_path


def add_config_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `config check FILE… [--tokenizer DIR]`; the chosen action is `args.run(args) -> exit status`."""
    parser = subparsers.add_parser("config", help="check guidance configs before sampling")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="list all problems of guidance configs",
        description="List every problem of the given guidance configs, one per line; exit status 1 when there is one.",
    )
    check.add_argument("files", nargs="+", type=file_path, metavar="FILE", help="guidance_config.json")
    check.add_argument(
        "--tokenizer",
        type=file_path,
        metavar="DIR",
        help="folder with the model's tokenizer (its vocab.json and merges.txt), or the model's folder; "
        "default: that of a ComfyUI install; without any, phrases and token positions are not checked",
    )
    check.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    folder = args.tokenizer or host_tokenizer()
    tokenize = None if folder is None else clip_tokenize(load_tokenizer(folder))
    problems = []
    for path in args.files:
        problems += check_guidance_configs(path, tokenize)
    print("\n".join(problems) or "no problems")
    if tokenize is None:
        print("Phrases and token positions were not checked: name the model's tokenizer with --tokenizer DIR.")
    return 1 if problems else 0
