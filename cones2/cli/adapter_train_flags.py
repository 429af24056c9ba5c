"""The flags of `cones2 train --method mip-adapter`, and what they ask for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..ranges import Range
from ..storage.names import check_file_name
from ..training.config import RANGES, TrainingConfig, adapter_config
from .arguments import file_path, number_in, whole_in
from .delta_train_flags import delta_flags_of
from .train_options import TrainOptions

_NAME = "mip_adapter"
_FLAGS = ("image_encoder", "start_adapter", "learn_projection", "image_tokens", "drop")
_OF_OTHERS = (
    "subject", "masks", "recipe", "description", "partners", "token_num", "drift_first", "drift_rest", "preservation",
    "norm_penalty", "max_norm", "average", "held_out", "evaluate_every", "patience", "scenes", "scene_share",
    "class_pictures", "basis", "buckets", "crops", "center_crop", "flip", "preview_every", "preview_prompt",
)  # fmt: skip
_TOKENS = 4


@dataclass(frozen=True)
class AdapterTrainOptions:
    """One training of an image adapter.

    run: recipe, model, the folder of labeled pictures, and what becomes of the result.
    image_encoder: folder of the CLIP image encoder.
    start: an adapter to go on from; None: a new one.
    tokens: image tokens per picture of a new one.
    """

    run: TrainOptions
    image_encoder: Path
    start: Path | None
    tokens: int


def add_adapter_flags(group: Any) -> None:
    """The flags of this method alone."""
    group.add_argument(
        "--image-encoder",
        type=file_path,
        metavar="DIR",
        help="the CLIP image encoder, as transformers saves it; --images is a folder with metadata.jsonl",
    )
    group.add_argument(
        "--start-adapter",
        type=file_path,
        metavar="FILE",
        help="an IP-Adapter or MIP-Adapter to go on from, whose projection stays as it is (default: a new adapter)",
    )
    group.add_argument(
        "--learn-projection", action="store_true", help="with --start-adapter: train the projection, too"
    )
    group.add_argument(
        "--image-tokens",
        type=whole_in(Range(1, 64)),
        metavar="N",
        help=f"tokens that a new adapter makes of a picture ({_TOKENS})",
    )
    group.add_argument(
        "--drop",
        type=number_in(RANGES["drop"]),
        metavar="P",
        help="share of the samples without references, as many without caption, as many without both (0.05)",
    )


def adapter_flags_of(args: argparse.Namespace) -> str:
    """The first flag of this method that was given; empty without one."""
    return next((_spelled(name) for name in _FLAGS if getattr(args, name, None) not in (None, False)), "")


def adapter_recipe(args: argparse.Namespace, numbers: dict[str, Any]) -> TrainingConfig:
    """The recipe that the flags ask for. Raises ConfigError for one that means nothing to this method."""
    foreign = [_spelled(name) for name in _OF_OTHERS if getattr(args, name, None) not in (None, False, 0)]
    if foreign or delta_flags_of(args):
        raise ConfigError(f"{[*foreign, delta_flags_of(args)][0]} means nothing to --method mip-adapter")
    if args.drop is not None:
        numbers = {**numbers, "drop": args.drop}
    learns = args.start_adapter is None or args.learn_projection
    name = check_file_name(args.name or _NAME, ConfigError)
    return adapter_config(name, **numbers, learn_projection=learns)


def adapter_options(args: argparse.Namespace, run: TrainOptions) -> AdapterTrainOptions:
    """All that the flags ask for. Raises ConfigError for flags that contradict each other."""
    if args.start_adapter and args.image_tokens:
        raise ConfigError("--image-tokens is for a new adapter: that of --start-adapter has its own")
    if args.learn_projection and not args.start_adapter:
        raise ConfigError("--learn-projection is for --start-adapter: a new adapter always learns it")
    return AdapterTrainOptions(run, args.image_encoder, args.start_adapter, args.image_tokens or _TOKENS)


def _spelled(name: str) -> str:
    return "--" + ("describe" if name == "description" else name.replace("_", "-"))
