"""`cones2 evaluate`: measure what the toy world draws, or pictures of one's own against photos."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..evaluation.choices import ARMS, DEFAULT_ARMS, LISTS, LOOKS, MOST_SUBJECTS, SHAPES
from ..presets import PRESETS
from ..ranges import PICTURES, SEED, Range
from .arguments import file_path, one_of, whole_in

if TYPE_CHECKING:
    from .evaluation_run import EvaluateOptions

_TOYWORLD = """\
Draw seeded scenes of the toy world's custom subjects in several ways (arms), let the judge look at them, and write
report.md, report.json and contact sheets. Stopped at any time, the same command goes on where it was.

arms: {arms}
An arm may change its numbers: "both,g=0.3,outside=-2,mode=others,guided=0.5,recurrence=off,steps=12,cfg=4",
or take a preset's: "both,preset={presets}".
lists of arms: {lists}
"""
_CONCEPT101 = """\
Measure generated pictures as the field does for CustomConcept101. Models are read from your folders, never downloaded.

captions.json beside the pictures says what each shows; regions (fractions: x, y, width, height) are optional:
  {"a.png": {"prompt": "a dog and a mug", "subjects": ["dog", "mug"], "regions": {"dog": [0, 0.2, 0.5, 0.8]}}}
"""


def add_evaluate_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate toyworld`, `gate` and `concept101`; the chosen action is `args.run(args) -> exit status`."""
    parser = subparsers.add_parser("evaluate", help="measure pictures")
    actions = parser.add_subparsers(required=True, metavar="WHAT")
    toyworld = actions.add_parser(
        "toyworld",
        help="scenes of the toy world, drawn in several ways and judged",
        description=_TOYWORLD.format(arms=", ".join(ARMS), lists=", ".join(LISTS), presets="|".join(PRESETS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_toyworld_flags(toyworld)
    toyworld.set_defaults(run=_toyworld)
    gate = actions.add_parser(
        "gate",
        help="a small fixed run whose figures must be within bounds",
        description="Draw a few fixed scenes of the toy world; exit status 1 when a figure is out of its bounds.",
    )
    _add_processes_flag(gate)
    _add_concept101(actions)
    gate.set_defaults(run=_gate)


def _add_concept101(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "concept101",
        help="pictures of your own: CLIP-T, CLIP-I, DINO, and whether subjects are confused",
        description=_CONCEPT101,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flag, what in (
        ("--images", "the pictures, with captions.json or as `cones2 sample` wrote them"),
        ("--references", "a folder of photos for each subject, of its name"),
        ("--clip", "a CLIP model, such as openai/clip-vit-base-patch32, as transformers saves it"),
        ("--dino", "a DINO model, such as facebook/dino-vits16, as transformers saves it"),
    ):
        parser.add_argument(flag, required=True, type=file_path, metavar="DIR", help=what)
    parser.add_argument("--device", help="(default: cuda where there is one, else cpu)")
    parser.add_argument("--out", type=file_path, metavar="DIR", help="also write report.md and report.json there")
    parser.set_defaults(run=_concept101)


# torch and the models are loaded by the command that runs, not for its help


def _toyworld(args: argparse.Namespace) -> int:
    from .evaluation_run import run_evaluation

    return run_evaluation(evaluate_options(args))


def _gate(args: argparse.Namespace) -> int:
    from .gate import run_gate

    return run_gate(args.processes)


def _concept101(args: argparse.Namespace) -> int:
    from .concept101 import Concept101Options, run_concept101

    return run_concept101(Concept101Options(args.images, args.references, args.clip, args.dino, args.device, args.out))


def _add_toyworld_flags(parser: argparse.ArgumentParser) -> None:
    counts = whole_in(Range(1, MOST_SUBJECTS))
    parser.add_argument("--n", type=whole_in(PICTURES), default=48, help="scenes per suite (default: %(default)s)")
    parser.add_argument(
        "--seeds",
        type=whole_in(Range(1, 1000)),
        default=1,
        metavar="K",
        help="pictures per scene; several show how much poses vary (default: 1)",
    )
    parser.add_argument("--seed", type=whole_in(SEED), default=0, help="of the scenes (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=file_path,
        default=Path("evaluation"),
        metavar="DIR",
        help="(default: %(default)s); finished ones stay",
    )
    parser.add_argument(
        "--subjects", type=counts, nargs="+", default=[2], metavar="COUNT", help="1 to 6 per scene (default: 2)"
    )
    parser.add_argument(
        "--shapes", type=one_of(SHAPES), nargs="+", default=["boxes"], metavar="SHAPE", help=" or ".join(SHAPES)
    )
    parser.add_argument(
        "--looks",
        type=one_of(LOOKS),
        default="sayable",
        metavar="LOOKS",
        help="of the subjects: sayable in words (default), wordless (a badge, dots) or all",
    )
    parser.add_argument(
        "--arms", nargs="+", default=list(DEFAULT_ARMS), metavar="ARM", help=f"(default: {' '.join(DEFAULT_ARMS)})"
    )
    parser.add_argument(
        "--residuals", type=file_path, metavar="DIR", help="NAME.safetensors (default: the model's own)"
    )
    parser.add_argument(
        "--model", type=file_path, metavar="DIR", help="another model of the toy world (default: the shipped one)"
    )
    parser.add_argument(
        "--adapter", type=file_path, metavar="FILE", help="image adapter of the toy model, for the arm pictures"
    )
    parser.add_argument("--image-encoder", type=file_path, metavar="DIR", help="that the adapter was made with")
    parser.add_argument("--device", help="(default: cuda where there is one, else cpu)")
    _add_processes_flag(parser)


def _add_processes_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes",
        type=whole_in(Range(1, 64)),
        metavar="P",
        help="that share the pictures (default: as many as there are cores, on cuda 1; accelerate launch: its own)",
    )


def evaluate_options(args: argparse.Namespace) -> EvaluateOptions:
    """The flags as typed values. Raises ConfigError for an arm that cannot be read, or what one lacks."""
    from ..evaluation.arms import parse_arms
    from ..evaluation.toyworld.bench import AdapterPaths
    from .evaluation_run import EvaluateOptions

    if (args.adapter is None) != (args.image_encoder is None):
        raise ConfigError("--adapter and --image-encoder belong together: give both or none")
    adapter = None if args.adapter is None else AdapterPaths(args.adapter, args.image_encoder)

    return EvaluateOptions(
        count=args.n,
        seed=args.seed,
        out=args.out,
        subjects=tuple(dict.fromkeys(args.subjects)),
        shapes=tuple(dict.fromkeys(args.shapes)),
        arms=parse_arms(args.arms),
        residuals=args.residuals,
        model=args.model,
        device=args.device,
        processes=args.processes,
        looks=args.looks,
        seeds=args.seeds,
        adapter=adapter,
    )
