"""`cones2 config check`: every problem of guidance configs at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..storage.files import shown_path
from .arguments import file_path


def add_config_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `config check FILE… [--tokenizer DIR]`; the chosen action is `args.run(args) -> exit status`."""
    parser = subparsers.add_parser("config", help="check guidance configs before sampling")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="list all problems of guidance configs",
        description="List every problem of the given guidance configs, one per line below its file; "
        "exit status 1 when there is one.",
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


def _lines(path: Path, problems: Sequence[str]) -> list[str]:
    """The problems of one file below its path, which their sentences begin with."""
    name = shown_path(path)
    own = [problem.removeprefix(name).lstrip(",: ") for problem in problems if problem.startswith(name)]
    others = [problem for problem in problems if not problem.startswith(name)]  # such as: there is no file
    return [*others, *([f"{name}:"] if own else []), *(f"  {problem}" for problem in own)]


def _check(args: argparse.Namespace) -> int:
    # torch is loaded by the run, not for the help
    from ..diffusers_models.loading import host_tokenizer, load_tokenizer
    from ..diffusers_models.text import clip_tokenize
    from ..published.check import check_guidance_configs

    folder = args.tokenizer or host_tokenizer()
    tokenize = None if folder is None else clip_tokenize(load_tokenizer(folder))
    problems = [line for path in args.files for line in _lines(path, check_guidance_configs(path, tokenize))]
    print("\n".join(problems) or "no problems")
    if tokenize is None:
        print("Phrases and token positions were not checked: name the model's tokenizer with --tokenizer DIR.")
    return 1 if problems else 0
