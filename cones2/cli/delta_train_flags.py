"""The flags of `cones2 train --method custom-diffusion`, and what they ask for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..training.config import RANGES, TrainingConfig, delta_config
from .arguments import file_path, number_in
from .train_options import TrainOptions

_ATTENTION = {"kv": "keys and values", "all": "all"}
_FLAGS = (
    "token",
    "token_start",
    "prompt",
    "class_images",
    "concepts_list",
    "attention",
    "prior_weight",
    "no_augment",
    "no_class_pictures",
)
_RESIDUAL_FLAGS = ("recipe", "description", "partners", "scenes", "scene_share", "basis")


@dataclass(frozen=True)
class DeltaOptions:
    """One training of Custom Diffusion.

    run: recipe, model, photos and what becomes of the result.
    prompt: what the photos show; class_prompt: what they are of.
    class_images: folder of pictures of the class; class_pictures: how many the model makes where there is none.
    concepts_list: several concepts instead.
    starts: pieces of the vocabulary that the tokens start from.
    """

    run: TrainOptions
    prompt: str
    class_prompt: str
    class_images: Path | None
    class_pictures: int
    concepts_list: Path | None
    starts: tuple[str, ...]


def add_delta_flags(group: Any) -> None:
    """The flags of this method alone."""
    group.add_argument(
        "--token",
        "--modifier_token",
        dest="token",
        metavar="TOKEN",
        help="the word that learns, put before the subject: <new1> (default); several, for --concepts-list: "
        "<new1>+<new2> (default: those in its prompts)",
    )
    group.add_argument(
        "--token-start",
        "--initializer_token",
        dest="token_start",
        metavar="PIECES",
        help="pieces of the vocabulary that tokens start from (ktn+pll+ucd)",
    )
    group.add_argument("--prompt", metavar="TEXT", help='what the photos show (default: "photo of a TOKEN SUBJECT")')
    group.add_argument(
        "--class-images",
        "--class_data_dir",
        dest="class_images",
        type=file_path,
        metavar="DIR",
        help="pictures of other things of the kind, with captions as NAME.txt where they have some; without it the "
        "model makes --class-pictures of them first (100)",
    )
    group.add_argument(
        "--no-class-pictures",
        action="store_true",
        help="train on the photos alone: the whole class comes to look like the concept",
    )
    group.add_argument(
        "--concepts-list",
        "--concepts_list",
        dest="concepts_list",
        type=file_path,
        metavar="FILE",
        help="several concepts at once: JSON with instance_prompt, class_prompt, instance_data_dir and class_data_dir "
        "each, instead of --images and --subject",
    )
    group.add_argument("--attention", choices=tuple(_ATTENTION), help="keys and values (kv, default), or all of it")
    group.add_argument(
        "--prior-weight",
        "--prior_loss_weight",
        dest="prior_weight",
        type=number_in(RANGES["prior_weight"]),
        metavar="W",
        help="weight of the pictures of the class (1)",
    )
    group.add_argument("--no-augment", action="store_true", help="take photos as they are, never smaller or larger")


def delta_flags_of(args: argparse.Namespace) -> str:
    """The first flag of this method that was given; empty without one."""
    given = [name for name in _FLAGS if getattr(args, name, None)]
    return "" if not given else "--" + given[0].replace("_", "-")


def delta_recipe(args: argparse.Namespace, numbers: dict[str, Any]) -> TrainingConfig:
    """The recipe that the flags ask for. Raises ConfigError for one that means nothing to this method."""
    for name in _RESIDUAL_FLAGS:
        if getattr(args, name, None) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} means nothing to --method custom-diffusion")
    numbers = {name: value for name, value in numbers.items() if name != "class_pictures"}
    subject = args.subject or (args.concepts_list.stem if args.concepts_list else "")
    return delta_config(
        subject,
        **numbers,
        tokens=_tokens(args),
        attention=_ATTENTION[args.attention or "kv"],
        prior_weight=1.0 if args.prior_weight is None else args.prior_weight,
        augment=not args.no_augment,
    )


def delta_options(args: argparse.Namespace, run: TrainOptions) -> DeltaOptions:
    """All that the flags ask for. Raises ConfigError for flags that contradict each other."""
    if args.concepts_list and (args.images or args.class_images or args.prompt):
        raise ConfigError("--concepts-list names the photos: leave --images, --class-images and --prompt out")
    if args.no_class_pictures and (args.class_images or args.class_pictures):
        raise ConfigError("--no-class-pictures does not go with --class-images and --class-pictures")
    subject = run.config.subject
    return DeltaOptions(
        run,
        args.prompt or f"photo of a {run.config.tokens} {subject}",
        subject,
        args.class_images,
        0 if args.no_class_pictures else args.class_pictures or 100,
        args.concepts_list,
        tuple(part for part in (args.token_start or "").split("+") if part),
    )


def _tokens(args: argparse.Namespace) -> str:
    if args.token:
        return str(args.token)
    if args.concepts_list is None:
        return "<new1>"
    from ..training.concepts import read_concepts_list, tokens_in  # loads torch

    return "+".join(tokens_in([paths.prompt for paths in read_concepts_list(args.concepts_list)]))
