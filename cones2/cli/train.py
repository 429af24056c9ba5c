"""`cones2 train` and `cones2 train-all`: residuals from photos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ConfigError
from ..messages import shown
from ..ranges import PICTURE_SIDE, TRAINING_STEPS, Range
from ..storage.names import check_file_name, file_name_for
from ..training.config import DEFAULT_RECIPE, PARTNERS, RANGES, RECIPES, Precision, TrainingConfig, recipe_config
from .adapter_train_flags import adapter_flags_of, adapter_options, adapter_recipe, add_adapter_flags
from .arguments import file_path, model_path, number_in, whole_in
from .delta_train_flags import add_delta_flags, delta_flags_of, delta_options, delta_recipe
from .parser import Parser
from .train_options import TrainOptions

_STEPS = "scenes and photos 200, with a description 100, paper 4000, mip-adapter 12000"
_CROPS = Range(1, 64)  # as ViewSettings has it
_USUAL_CROPS = 4
_LONGEST_PROBLEM = 200  # characters
_FOLDERS = {"custom-diffusion": "custom_diffusion", "mip-adapter": "adapters"}
_PRECISIONS: dict[str | None, Precision] = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "no": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}


def add_train_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `train` and `train-all`."""
    parser = subparsers.add_parser(
        "train",
        help="learn a subject's residual from 3-6 photos",
        description="Learn a subject's residual (about 5 KB) from 3-6 photos. Interrupted runs continue when "
        "the same command is given again. Under `accelerate launch` all its processes train together.",
    )
    add_train_flags(parser)
    add_delta_flags(parser.add_argument_group("Custom Diffusion (--method custom-diffusion)"))
    add_adapter_flags(parser.add_argument_group("image adapters (--method mip-adapter)"))
    parser.set_defaults(run=_train, fail=parser.error)
    every = subparsers.add_parser(
        "train-all",
        help="train many subjects from one YAML file",
        description="Train many subjects. CONFIG.yaml has `subjects`, a list of the flags of `train` by name "
        "(subject: dog, images: photos/dog, steps: 200 …), and `defaults` for all of them. Finished "
        "subjects are skipped, interrupted ones continue; a table sums up. Under `accelerate launch` each process "
        "trains whole subjects.",
    )
    every.add_argument("config", type=file_path, metavar="CONFIG.yaml")
    every.set_defaults(run=_train_all)


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `train`; the published script's names are accepted where they mean the same."""
    _add_input_flags(parser.add_argument_group("what to learn from"))
    _add_recipe_flags(parser.add_argument_group("recipe"))
    _add_image_flags(parser.add_argument_group("photos"))
    _add_run_flags(parser.add_argument_group("run"))


def _add_input_flags(group: Any) -> None:
    group.add_argument(
        "--model",
        "--pretrained_model_name_or_path",
        dest="model",
        required=True,
        type=model_path,
        metavar="DIR_OR_FILE",
        help="a diffusers folder (SD 1.x, 2.x, SDXL) or a checkpoint file of them; never downloaded; "
        "demo: the small one that ships",
    )
    group.add_argument(
        "--images",
        "--instance_data_dir",
        dest="images",
        type=file_path,
        metavar="DIR",
        help="the photos; with --method mip-adapter a folder with metadata.jsonl",
    )
    group.add_argument(
        "--subject",
        "--instance_prompt",
        dest="subject",
        metavar="PHRASE",
        help="the kind of thing in the photos, in the words that prompts will use, such as dog",
    )
    group.add_argument(
        "--masks", type=file_path, metavar="DIR", help="pictures of the same names, white on the subject"
    )


def _add_recipe_flags(group: Any) -> None:
    group.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        help="learn from the photos and from scenes pasted of them, under the layout term (scenes), from the photos "
        f"alone (photos), or as published (paper); default: {DEFAULT_RECIPE}",
    )
    group.add_argument(
        "--method",
        choices=("direct", "paper", "custom-diffusion", "mip-adapter"),
        help="the older way to say it: direct is the recipe photos, paper the recipe paper; custom-diffusion learns a "
        "delta of the model's cross-attention and a word of its own instead of a residual, mip-adapter an image "
        "adapter from many pictures",
    )
    group.add_argument(
        "--describe",
        "--description",
        dest="description",
        metavar="TEXT",
        help='start from words: how the subject looks, such as "purple and yellow mug"',
    )
    group.add_argument(
        "--partners",
        metavar="LIST",
        help=f"scenes: what the subject is shown beside, in pictures that the model makes itself (default: {PARTNERS})",
    )
    for names, kind, text in _RECIPE_FLAGS:
        reader = whole_in if kind is int else number_in
        group.add_argument(*names, type=reader(RANGES[_field(names)]), metavar="N", help=text)
    group.add_argument("--schedule", "--lr_scheduler", dest="schedule", choices=("constant", "cosine"))


_RECIPE_FLAGS: tuple[tuple[tuple[str, ...], type, str], ...] = (
    (("--steps", "--max_train_steps"), int, f"updates at most (default: {_STEPS})"),
    (("--learning-rate", "--learning_rate"), float, "learning rate"),
    (("--batch-size", "--train_batch_size"), int, "samples per forward pass"),
    (("--accumulation", "--gradient_accumulation_steps"), int, "forward passes per update"),
    (("--warmup-steps", "--lr_warmup_steps"), int, "updates of rising learning rate"),
    (("--token-num", "--token_num"), int, "how many of the phrase's tokens get a vector (default: all)"),
    (("--drift-first", "--loss_rate_first"), float, "paper: weight of the drift of row 0 (0.01)"),
    (("--drift-rest", "--loss_rate_second"), float, "paper: weight of the drift after the subject (0.001)"),
    (("--weight-decay", "--adam_weight_decay"), float, "AdamW's weight decay"),
    (("--max-grad-norm", "--max_grad_norm"), float, "clip gradients at this norm (1); 0: never"),
    (("--preservation",), float, "direct: keep the prediction outside the masks, with this weight (0)"),
    (("--norm-penalty",), float, "direct: weight of the squared norm (0)"),
    (("--max-norm",), float, "direct: largest norm of a vector (0: no limit)"),
    (("--average",), float, "direct: decay of the moving average (0: none)"),
    (("--held-out",), int, "fixed pairs of noise and timestep for validation"),
    (("--evaluate-every",), int, "updates between validations"),
    (("--patience",), int, "stop after so many validations without gain; 0: never"),
    (("--seed",), int, "seed of everything random (0)"),
    (("--scenes",), int, "scenes: how many are pasted (48)"),
    (("--scene-share",), float, "scenes: share of the samples that they are (0.5)"),
    (("--class-pictures",), int, "scenes: pictures of partners that the model makes first (16)"),
    (("--basis",), int, "direct: learn in so many directions of words (0: a free vector)"),
)


def _field(names: tuple[str, ...]) -> str:
    """The field of TrainingConfig that a flag of these names is."""
    return names[0].removeprefix("--").replace("-", "_")


_RECIPE = (
    *(_field(names) for names, _, _ in _RECIPE_FLAGS),
    "schedule",
    "checkpoint_every",
    "description",
    "partners",
)
"""Flags that are fields of TrainingConfig, by their names there."""


def _add_image_flags(group: Any) -> None:
    group.add_argument(
        "--resolution", type=whole_in(PICTURE_SIDE), metavar="PX", help="side in pixels (default: the model's own)"
    )
    group.add_argument("--buckets", action="store_true", help="keep proportions instead of cropping squares")
    group.add_argument(
        "--crops", type=whole_in(_CROPS), metavar="N", help=f"random crops of oblong photos ({_USUAL_CROPS})"
    )
    group.add_argument(
        "--center-crop", "--center_crop", dest="center_crop", action="store_true", help="one crop, the center"
    )
    group.add_argument("--flip", action="store_true", help="add mirrored photos; not for text or asymmetric things")


def _add_run_flags(group: Any) -> None:
    group.add_argument(
        "--out",
        "--output_dir",
        dest="out",
        type=file_path,
        metavar="DIR",
        help="(residuals; custom_diffusion for deltas, adapters for image adapters)",
    )
    group.add_argument("--name", help="name of the files (default: the subject; mip-adapter: mip_adapter)")
    group.add_argument("--overwrite", action="store_true", help="replace a result of this name")
    group.add_argument("--restart", action="store_true", help="ignore the checkpoint of an interrupted run")
    group.add_argument(
        "--checkpoint-every",
        "--checkpointing_steps",
        type=whole_in(RANGES["checkpoint_every"]),
        metavar="N",
        help="updates (direct 25, paper and mip-adapter 250)",
    )
    group.add_argument(
        "--preview-every",
        type=whole_in(Range(0, TRAINING_STEPS.high)),
        default=0,
        metavar="N",
        help="sample a picture every N updates",
    )
    group.add_argument("--preview-prompt", metavar="TEXT", help='(default: "a photo of a SUBJECT")')
    group.add_argument("--tensorboard", action="store_true", help="also write TensorBoard files (needs tensorboard)")
    group.add_argument("--device", metavar="DEVICE", help="(default: cuda where there is one, else cpu)")
    group.add_argument(
        "--dtype",
        "--mixed_precision",
        dest="dtype",
        choices=tuple(_PRECISIONS),
        help="number format of the frozen networks (default: float16 on cuda, else float32)",
    )
    group.add_argument(
        "--gradient-checkpointing",
        "--gradient_checkpointing",
        dest="gradient_checkpointing",
        action="store_true",
        help="recompute activations: less memory, slower",
    )
    group.add_argument("--tokenizer", type=file_path, metavar="DIR", help="CLIP tokenizer for a single-file checkpoint")
    group.add_argument("--prediction-type", choices=("epsilon", "v_prediction"), help="overrides what the model says")


def read_options(args: argparse.Namespace) -> TrainOptions:
    """The options that parsed flags stand for. Raises ConfigError for a value out of range or an unusable name."""
    if missing := missing_flags(args, ("images", "subject")):
        raise ConfigError(missing)
    if args.method in _FOLDERS:
        raise ConfigError(f"train-all trains residuals: --method {args.method} is for train")
    config = recipe_config(_recipe_of(args.recipe, args.method), args.subject, **given_numbers(args))
    return run_options(args, config)


def missing_flags(args: argparse.Namespace, names: Sequence[str]) -> str:
    """A sentence that names the flags that are needed and were not given; empty when all were."""
    missing = ["--" + name.replace("_", "-") for name in names if getattr(args, name) is None]
    return f"the following arguments are required: {', '.join(missing)}" if missing else ""


def given_numbers(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainingConfig that flags say."""
    return {name: getattr(args, name) for name in _RECIPE if getattr(args, name) is not None}


def run_options(args: argparse.Namespace, config: TrainingConfig) -> TrainOptions:
    """The options of a run with this recipe. Raises ConfigError for an unusable name."""
    return TrainOptions(
        config=config,
        model=args.model,
        images=args.images or Path(),
        name=check_file_name(args.name or file_name_for(config.subject), ConfigError),
        masks=args.masks,
        out=args.out or Path(_FOLDERS.get(config.method, "residuals")),
        resolution=args.resolution,
        buckets=args.buckets,
        crops=1 if args.center_crop else args.crops or _USUAL_CROPS,
        flip=args.flip,
        overwrite=args.overwrite,
        restart=args.restart,
        preview_every=args.preview_every,
        preview_prompt=args.preview_prompt or "",
        tensorboard=args.tensorboard,
        device=args.device,
        precision=_PRECISIONS.get(args.dtype),
        gradient_checkpointing=args.gradient_checkpointing,
        tokenizer=args.tokenizer,
        prediction_type=args.prediction_type,
    )


def _recipe_of(recipe: str | None, method: str | None) -> str:
    """The recipe of both flags; a method alone stands for the recipe that it had before there were others.

    Raises ConfigError when they contradict each other.
    """
    if recipe is None:
        return DEFAULT_RECIPE if method is None else {"paper": "paper", "direct": "photos"}[method]
    if method is not None and RECIPES[recipe][0] != method:
        raise ConfigError(f"the recipe {recipe} learns by the method {RECIPES[recipe][0]}: leave --method {method} out")
    return recipe


def _train(args: argparse.Namespace) -> int:
    if used := adapter_flags_of(args) if args.method != "mip-adapter" else "":
        raise ConfigError(f"{used} is for --method mip-adapter")
    if args.method == "mip-adapter":
        return _train_adapter(args)
    needed = () if args.method == "custom-diffusion" and args.concepts_list else ("images", "subject")
    if missing := missing_flags(args, needed):
        args.fail(missing)
    if args.method == "custom-diffusion":
        options = delta_options(args, run_options(args, delta_recipe(args, given_numbers(args))))
        from .delta_training import train_delta

        return train_delta(options)
    if used := delta_flags_of(args):
        raise ConfigError(f"{used} is for --method custom-diffusion")
    from .training_run import Models, train_one  # torch is loaded by the run, not for the help

    return train_one(read_options(args), Models()).status


def _train_adapter(args: argparse.Namespace) -> int:
    if missing := missing_flags(args, ("images", "image_encoder")):
        args.fail(missing)
    options = adapter_options(args, run_options(args, adapter_recipe(args, given_numbers(args))))
    from .adapter_training import train_adapter

    return train_adapter(options)


def _train_all(args: argparse.Namespace) -> int:
    from .train_all import train_all

    return train_all(args.config, parse_options)


class _RaisingParser(Parser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(shown(message, _LONGEST_PROBLEM))


def parse_options(argv: Sequence[str]) -> TrainOptions:
    """The options that flags of `train` stand for; raises ConfigError instead of leaving the process."""
    parser = _RaisingParser(prog="train", add_help=False)
    add_train_flags(parser)
    return read_options(parser.parse_args(argv))
