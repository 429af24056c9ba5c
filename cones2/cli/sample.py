"""`cones2 sample`: pictures from a guidance config, or from subjects and a layout on the command line."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigError
from ..guidance.settings import DEFAULT_GUIDANCE
from ..presets import PRESETS, preset_lines
from ..ranges import (
    CFG,
    COLOR_TOLERANCE,
    GUIDANCE_WEIGHT,
    GUIDED_STEPS,
    OUTSIDE_WEIGHT,
    PHOTO_START,
    PICTURE_SIDE,
    PICTURES,
    SEED,
    STEPS,
)
from .arguments import file_path, model_path, number_in, one_of, size, whole_in
from .delta import split_strength
from .reference_flags import add_reference_flags, reference_options

if TYPE_CHECKING:
    from .sampling_run import SampleOptions

log = logging.getLogger(__name__)

_DTYPES = ("bfloat16", "float16", "float32")
_PUBLISHED_RULES = ("cones2", "multi-concept")  # the keys of published.rules.PUBLISHED_RULES

_Value = TypeVar("_Value")


def add_sample_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sample`."""
    parser = subparsers.add_parser(
        "sample",
        help="make pictures with several subjects, each in its place",
        description="Make pictures from a published guidance_config.json, or from --prompt, --subject and --layout.",
    )
    parser.add_argument(
        "--model",
        required=True,
        type=model_path,
        metavar="DIR_OR_FILE",
        help="SD 1.x, 2.x or SDXL: a diffusers folder or a checkpoint file; never downloaded; "
        "demo: the small one that ships, for pictures of 64x64",
    )
    _add_scene_flags(parser.add_argument_group("what to draw"))
    _add_guidance_flags(parser.add_argument_group("layout guidance"))
    add_reference_flags(parser.add_argument_group("subjects from pictures"))
    _add_run_flags(parser.add_argument_group("run"))
    parser.set_defaults(run=_sample)


def _sample(args: argparse.Namespace) -> int:
    options = sample_options(args)
    from .sampling_run import run_sampling

    return run_sampling(options)


def sample_options(args: argparse.Namespace) -> SampleOptions:
    """The flags as typed values. Raises ConfigError for flags that do not go together."""
    if args.config is not None and args.subject:
        raise ConfigError("--subject does not go with --config: the config names its subjects")
    if args.config is not None and (args.scene is not None or args.region):
        raise ConfigError("--scene and --region do not go with --config: the config has its layout")
    if args.config is None and args.prompt is None:
        raise ConfigError("nothing to draw: give --config FILE, or --prompt with --subject and --layout or --region")
    if args.cutout and not args.photo_start:
        raise ConfigError("--cutout does nothing without --photo-start: add, for example, --photo-start 8")
    if args.photo_start and args.published_rules:
        raise ConfigError("--photo-start does not go with --published-rules: the published code starts from noise")
    picture_size, references = _picture_size(args), reference_options(args)
    # torch is loaded by the run, not for the help and for mistakes in the flags
    import torch

    from ..layout.colors import DEFAULT_TOLERANCE
    from ..layout.inline import regions_in_text
    from ..published.rules import PUBLISHED_RULES
    from ..rules import OUR_RULES
    from .cutouts import parse_cutout
    from .delta_flags import parse_region_delta
    from .drawn import drawn_document, parse_region, with_named_residuals
    from .jobs import parse_subject
    from .sampling_run import SampleOptions

    prompt, placed = (args.prompt, []) if args.config or not args.prompt else regions_in_text(args.prompt)
    document = drawn_document(args.scene, [*(parse_region(text) for text in args.region), *placed])
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    preset = None if args.preset is None else PRESETS[args.preset]
    return SampleOptions(
        model=args.model,
        tokenizer=args.tokenizer,
        prediction_type=args.prediction_type,
        config=args.config,
        prompt=prompt,
        negative_prompt=args.negative_prompt,
        subjects=with_named_residuals([parse_subject(text) for text in args.subject], document, args.scene),
        layout=args.layout,
        document=document,
        tolerance=DEFAULT_TOLERANCE if args.tolerance is None else args.tolerance,
        typed_positions=args.strict_positions,
        rules=PUBLISHED_RULES.get(args.published_rules, OUR_RULES),
        guided_steps=_given(args.guidance_steps, preset and preset.guided_steps(args.steps)),
        guidance_weight=_given(args.guidance_weight, preset and preset.guidance.guidance_weight),
        outside_weight=_given(args.weight_negative, preset and preset.guidance.outside_weight),
        outside_mode=_given(args.negative_mode, (preset.guidance if preset else DEFAULT_GUIDANCE).outside_mode),
        recurrence=_given(args.recurrence, preset.recurrence if preset else True),
        steps=args.steps,
        cfg=args.cfg,
        dynamic_cfg=args.dynamic_cfg,
        seed=args.seed,
        num_images=args.num_images,
        size=picture_size,
        device=device,
        dtype=args.dtype or ("float16" if device.startswith("cuda") else "float32"),
        out=args.out,
        photo_start=args.photo_start,
        cutouts=tuple(parse_cutout(text) for text in args.cutout),
        continues=args.continues,
        references=references,
        deltas=tuple(split_strength(text) for text in args.delta),
        region_deltas=tuple(parse_region_delta(text) for text in args.region_delta),
    )


def _picture_size(args: argparse.Namespace) -> tuple[int | None, int | None]:
    """(height, width) in pixels; None: the model's own. Raises ConfigError when they are said twice."""
    if args.size is None:
        return args.height, args.width
    if args.width is not None or args.height is not None:
        raise ConfigError("--size does not go with --width and --height: give one or the other")
    height, width = args.size
    if height != width:
        log.warning(
            "--size %dx%d is height x width: %d wide and %d high (clearer: --width %d --height %d)",
            *(height, width, width, height, width, height),
        )
    return height, width


def _given(flag: _Value | None, otherwise: _Value) -> _Value:
    """What a flag says, if it was given."""
    return otherwise if flag is None else flag


def _add_scene_flags(group: Any) -> None:
    group.add_argument("--config", type=file_path, metavar="FILE", help="guidance_config.json; every entry is run")
    group.add_argument(
        "--prompt",
        help="the prompt; replaces the config's; without one it may say where a word belongs, as --region does: "
        '"a dog[region 0.5 0.3 0.4 0.6]"',
    )
    group.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to keep out (default: nothing)")
    group.add_argument(
        "--subject",
        action="append",
        default=[],
        metavar="PHRASE=FILE@WEIGHT:COLOR",
        help="a subject: words of the prompt, its residual file, its weight (2.5) and its color in the layout, e.g. "
        '"dog=dog.safetensors@2.5:#ff0000"; file, weight and color are optional; give it once per subject; '
        "demo/dog is a file that ships, for --model demo",
    )
    group.add_argument(
        "--cutout",
        action="append",
        default=[],
        metavar="PHRASE=FILE",
        help="a photo of a subject for --photo-start, cut out (transparent around it) or filling the picture, e.g. "
        '"dog=rex.png"; instead of those in its residual file; several of one subject take turns',
    )
    group.add_argument(
        "--delta",
        action="append",
        default=[],
        metavar="FILE@STRENGTH",
        help="a Custom Diffusion file (delta.bin, .ckpt, .safetensors), whose token the prompt may use: "
        '"a <new1> cat"; the strength (1) is optional; of several the differences are summed and tokens of one name '
        "renamed in their order",
    )
    group.add_argument(
        "--region-delta",
        action="append",
        default=[],
        metavar="PHRASE=FILE@STRENGTH",
        help="a Custom Diffusion file whose keys and values act in the region of these words alone, so that two of one "
        'kind do not mix: "<new1> cat=mine.bin" and "<new2> cat=yours.bin"; give a region for each',
    )
    group.add_argument("--layout", type=file_path, metavar="FILE", help="layout picture; replaces the config's")
    group.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="PHRASE=LEFT,TOP,WIDTH,HEIGHT@WEIGHT",
        help="where words of the prompt belong, without a layout picture: a box in fractions of the picture, e.g. "
        '"dog=0.5,0.3,0.4,0.6"; the weight (2.5) is optional; give it once per box',
    )
    group.add_argument(
        "--scene",
        type=file_path,
        metavar="FILE",
        help="a layout document (.json), as the Layout Painter exports it; its residuals are looked for beside it",
    )
    group.add_argument(
        "--tolerance",
        type=number_in(COLOR_TOLERANCE),
        metavar="D",
        help="how far (RGB distance) a pixel may be from its subject's color (default: 96)",
    )
    group.add_argument(
        "--strict-positions", action="store_true", help="use the config's typed token positions as they are"
    )


def _add_guidance_flags(group: Any) -> None:
    group.add_argument(
        "--guidance-steps",
        type=whole_in(GUIDED_STEPS),
        metavar="N",
        help="how many steps follow the layout (default: all)",
    )
    group.add_argument(
        "--guidance-weight",
        type=number_in(GUIDANCE_WEIGHT),
        metavar="G",
        help="strength of the layout (default: 0.08)",
    )
    group.add_argument(
        "--weight-negative",
        type=number_in(OUTSIDE_WEIGHT),
        metavar="W",
        help="weight outside a region, e.g. --weight-negative=-1e8 (the default)",
    )
    group.add_argument(
        "--negative-mode",
        choices=("outside", "others"),
        help="a subject is kept out of everything outside its region (default), or only out of other subjects' regions",
    )
    group.add_argument(
        "--recurrence",
        action=argparse.BooleanOptionalAction,
        help="do each guided step twice (default), or once with --no-recurrence",
    )
    group.add_argument(
        "--preset",
        type=one_of(PRESETS),
        metavar="{" + ",".join(PRESETS) + "}",
        help="what the flags above are when they are not given; also in place of a config's numbers. "
        + preset_lines().replace("\n", "; ").replace("%", "%%"),
    )
    group.add_argument(
        "--photo-start",
        type=number_in(PHOTO_START),
        default=0.0,
        metavar="G",
        help="start from the subjects' photos: how much of them is in the first noise, 8 to 16; poses vary less "
        "(default: 0, plain noise)",
    )
    group.add_argument("--dynamic-cfg", action="store_true", help="scale cfg by 1 + sigma/sigma_max")
    group.add_argument(
        "--published-rules",
        type=one_of(_PUBLISHED_RULES),
        metavar="{cones2,multi-concept}",
        help="reproduce old results: exact colors, typed token positions and the other rules of the published code",
    )


def _add_run_flags(group: Any) -> None:
    group.add_argument("--steps", type=whole_in(STEPS), default=50, metavar="N", help="sampling steps (default: 50)")
    group.add_argument("--cfg", type=number_in(CFG), default=7.5, help="classifier-free guidance scale (default: 7.5)")
    group.add_argument(
        "--seed",
        type=whole_in(SEED),
        default=0,
        help="seed of the first picture; the next has seed + 1 (default: 0)",
    )
    group.add_argument(
        "--num-images", type=whole_in(PICTURES), default=1, metavar="N", help="pictures per prompt (default: 1)"
    )
    for side in ("--width", "--height"):
        group.add_argument(
            side, type=whole_in(PICTURE_SIDE), metavar="PX", help="of the picture in pixels (default: the model's own)"
        )
    group.add_argument("--size", type=size, metavar="HxW", help="the older form: height x width in pixels")
    group.add_argument("--device", help="(default: cuda where there is one, else cpu)")
    group.add_argument("--dtype", choices=_DTYPES, help="(default: float16 on cuda, else float32)")
    group.add_argument("--tokenizer", type=file_path, metavar="DIR", help="CLIP tokenizer for a single-file checkpoint")
    group.add_argument("--prediction-type", choices=("epsilon", "v_prediction"), help="overrides what the model says")
    group.add_argument("--out", type=file_path, default=Path("outputs"), metavar="DIR", help="(default: %(default)s)")
    group.add_argument(
        "--continue",
        dest="continues",
        action="store_true",
        help="leave out pictures that are there with the same settings; several processes (accelerate launch) do",
    )
