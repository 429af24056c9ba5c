"""`cones2 sample`: pictures from a guidance config, or from subjects and a layout on the command line."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..diffusers_models.latent_model import SamplingSettings, StableDiffusion, to_images
from ..diffusers_models.loading import load_model
from ..errors import ConfigError
from ..layout.colors import DEFAULT_TOLERANCE
from ..layout.drawing import grid, layout_picture
from ..layout.regions import Layout
from ..published.config import GUIDANCE_WEIGHT_RANGE, OUTSIDE_WEIGHT_RANGE, STEPS_RANGE
from ..published.rules import PublishedRules
from ..sampling.euler import StepInfo
from ..scene import Scene
from ..storage.files import write_atomically
from ..storage.png import write_png
from .jobs import Job, job_from_flags, job_layout, job_scene, jobs_from_config, parse_subject

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
        type=Path,
        metavar="DIR_OR_FILE",
        help="SD 1.x or 2.x: a diffusers folder or a checkpoint file; never downloaded",
    )
    _add_scene_flags(parser.add_argument_group("what to draw"))
    _add_guidance_flags(parser.add_argument_group("layout guidance"))
    _add_run_flags(parser.add_argument_group("run"))
    parser.set_defaults(run=_sample)


def _add_scene_flags(group: Any) -> None:
    group.add_argument("--config", type=Path, metavar="FILE", help="guidance_config.json; every entry is run")
    group.add_argument("--prompt", help="the prompt; replaces the config's")
    group.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to keep out (default: nothing)")
    group.add_argument(
        "--subject",
        action="append",
        default=[],
        metavar="PHRASE=FILE@WEIGHT:COLOR",
        help="a subject: words of the prompt, its residual file, its weight (2.5) and its color in the layout, e.g. "
        '"dog=dog.safetensors@2.5:#ff0000"; file, weight and color are optional; give it once per subject',
    )
    group.add_argument("--layout", type=Path, metavar="FILE", help="layout picture; replaces the config's")
    group.add_argument(
        "--tolerance",
        type=_number(0, 442),
        default=DEFAULT_TOLERANCE,
        metavar="D",
        help="how far (RGB distance) a pixel may be from its subject's color (default: %(default)g)",
    )
    group.add_argument("--strict-positions", action="store_true", help="use the config's typed token rows as they are")


def _add_guidance_flags(group: Any) -> None:
    group.add_argument(
        "--guidance-steps",
        type=_whole(*STEPS_RANGE),
        metavar="N",
        help="how many steps follow the layout (default: all)",
    )
    group.add_argument(
        "--guidance-weight",
        type=_number(*GUIDANCE_WEIGHT_RANGE),
        metavar="G",
        help="strength of the layout (default: 0.08)",
    )
    group.add_argument(
        "--weight-negative",
        type=_number(*OUTSIDE_WEIGHT_RANGE),
        metavar="W",
        help="weight outside a region, e.g. --weight-negative=-1e8 (the default)",
    )
    group.add_argument(
        "--negative-mode",
        choices=("outside", "others"),
        default="outside",
        help="a subject is kept out of everything outside its region (default), or only out of other subjects' regions",
    )
    group.add_argument("--no-recurrence", action="store_true", help="do each guided step once instead of twice")
    group.add_argument("--dynamic-cfg", action="store_true", help="scale cfg by 1 + sigma/sigma_max")
    group.add_argument(
        "--published-rules",
        type=_rules,
        metavar="{cones2,multi-concept}",
        help="reproduce old results: exact colors, typed rows and the other rules of the published code",
    )


def _add_run_flags(group: Any) -> None:
    group.add_argument("--steps", type=int, default=50, metavar="N", help="sampling steps (default: 50)")
    group.add_argument(
        "--cfg", type=_number(0, 1000), default=7.5, help="classifier-free guidance scale (default: 7.5)"
    )
    group.add_argument(
        "--seed",
        type=_whole(0, 2**63 - 1),
        default=0,
        help="seed of the first picture; the next has seed + 1 (default: 0)",
    )
    group.add_argument("--num-images", type=int, default=1, metavar="N", help="pictures per prompt (default: 1)")
    group.add_argument("--size", type=_size, metavar="HxW", help="height x width in pixels (default: the model's own)")
    group.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: %(default)s)"
    )
    group.add_argument("--dtype", choices=sorted(_DTYPES), help="(default: float16 on cuda, else float32)")
    group.add_argument("--tokenizer", type=Path, metavar="DIR", help="CLIP tokenizer for a single-file checkpoint")
    group.add_argument("--prediction-type", choices=("epsilon", "v_prediction"), help="overrides what the model says")
    group.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="(default: %(default)s)")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f'"{text}" is not a size: write height x width in pixels, e.g. 768x768')
    return int(height), int(width)


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from {low:g} to {high:g}')
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 19 or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {low} to {high}')
        return int(text)

    return read


def _rules(text: str) -> PublishedRules:
    try:
        return PublishedRules(text)
    except ValueError:
        known = " or ".join(rules.value for rules in PublishedRules)
        raise argparse.ArgumentTypeError(f'"{text}" is unknown: write {known}') from None


def _sample(args: argparse.Namespace) -> int:
    jobs = _jobs(args)
    layouts = [job_layout(job, args.tolerance, args.published_rules) for job in jobs]
    model = load_model(
        args.model, args.tokenizer, usable_device(args.device), _dtype(args), prediction_type=args.prediction_type
    )
    scenes = [
        job_scene(job, model, args.negative_prompt, layout, args.strict_positions, args.published_rules)
        for job, layout in zip(jobs, layouts, strict=True)
    ]
    finished: list[Path] = []
    try:
        for job, layout, scene in zip(jobs, layouts, scenes, strict=True):
            _run_job(args, model, job, layout, scene, finished)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {len(finished)} finished pictures are kept in {args.out}")
        raise
    return 0


def _jobs(args: argparse.Namespace) -> list[Job]:
    if args.num_images < 1 or args.steps < 1:
        raise ConfigError(f"--num-images {args.num_images} --steps {args.steps}: both must be at least 1")
    if args.config is not None:
        if args.subject:
            raise ConfigError("--subject does not go with --config: the config names its subjects")
        jobs = jobs_from_config(args.config, args.prompt, args.layout)
    elif args.prompt is None:
        raise ConfigError("nothing to draw: give --config FILE, or --prompt with --subject and --layout")
    else:
        jobs = [job_from_flags(args.prompt, [parse_subject(text) for text in args.subject], args.layout)]
    return [_with_overrides(job, args) for job in jobs]


def _with_overrides(job: Job, args: argparse.Namespace) -> Job:
    numbers = replace(
        job.numbers,
        guidance_weight=job.numbers.guidance_weight if args.guidance_weight is None else args.guidance_weight,
        outside_weight=job.numbers.outside_weight if args.weight_negative is None else args.weight_negative,
        outside_mode=args.negative_mode,
    )
    steps = job.guidance_steps if args.guidance_steps is None else args.guidance_steps
    return replace(job, numbers=numbers, guidance_steps=steps)


def usable_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f'device "{name}" cannot be used here: {str(error).splitlines()[0]}') from error
    return device


def _dtype(args: argparse.Namespace) -> torch.dtype:
    if args.dtype is not None:
        return _DTYPES[args.dtype]
    return torch.float16 if args.device.startswith("cuda") else torch.float32


def _run_job(
    args: argparse.Namespace,
    model: StableDiffusion,
    job: Job,
    layout: Layout | None,
    scene: Scene,
    finished: list[Path],
) -> None:
    """Sample one job; each finished picture is saved at once and its path appended to `finished`."""
    height, width = args.size or (model.default_size, model.default_size)
    settings = SamplingSettings(
        steps=args.steps,
        guidance_steps=job.guidance_steps,
        cfg=args.cfg,
        dynamic_cfg=args.dynamic_cfg or (args.published_rules is not None and args.published_rules.dynamic_cfg),
        recurrence=not args.no_recurrence,
        height=height,
        width=width,
        published_rules=args.published_rules,
    )
    model.check_size(height, width)
    record = _record(args, job, settings)
    if layout is not None:
        layout.warn_if_stretched(height, width)
        _save(args.out, f"{job.name}_layout", layout_picture(layout, height, width), record)
    pictures: list[Image.Image] = []
    try:
        for seed, picture in _pictures(args, model, job, scene, settings):
            finished.append(_save(args.out, f"{job.name}_seed{seed}", picture, {**record, "seed": seed}))
            pictures.append(picture)
    finally:
        if len(pictures) > 1:
            _save(args.out, f"{job.name}_grid", grid(pictures), record)


def _pictures(
    args: argparse.Namespace, model: StableDiffusion, job: Job, scene: Scene, settings: SamplingSettings
) -> Iterator[tuple[int, Image.Image]]:
    from tqdm import tqdm

    with tqdm(total=args.num_images * settings.steps, desc=job.name, unit="step") as bar:

        def advance(_: StepInfo) -> None:
            bar.update()

        for seed in range(args.seed, args.seed + args.num_images):
            latents = model.sample(
                scene.positive, scene.negative, scene.guidance, replace(settings, seeds=(seed,)), advance
            )
            yield seed, to_images(model.decode(latents))[0]


def _record(args: argparse.Namespace, job: Job, settings: SamplingSettings) -> dict[str, Any]:
    """What a PNG says about how it was made."""
    subjects = (
        [{"subject": subject.name, "residual": str(subject.residual)} for subject in job.config.subjects]
        if job.config
        else [{"subject": flag.phrase, "residual": str(flag.residual or "")} for flag in job.subjects]
    )
    return {
        "model": str(args.model),
        "prompt": job.prompt,
        "negative_prompt": args.negative_prompt,
        "subjects": subjects,
        "layout": str(job.layout or ""),
        "colours": {"#{:02x}{:02x}{:02x}".format(*entry.color): [entry.subject, entry.weight] for entry in job.table},
        "steps": settings.steps,
        "guidance_steps": settings.guided,
        "guidance_weight": job.numbers.guidance_weight,
        "weight_negative": job.numbers.outside_weight,
        "negative_mode": job.numbers.outside_mode,
        "recurrence": settings.recurrence,
        "cfg": settings.cfg,
        "dynamic_cfg": settings.dynamic_cfg,
        "size": [settings.height, settings.width],
        "dtype": str(_dtype(args)).removeprefix("torch."),
        "tolerance": args.tolerance,
        "strict_positions": args.strict_positions,
        "prediction_type": args.prediction_type or "",
        "published_rules": args.published_rules.value if args.published_rules else "",
    }


def _save(folder: Path, name: str, picture: Image.Image, record: dict[str, Any]) -> Path:
    """Write a PNG under the first free name, so that earlier results stay."""
    path, number = folder / f"{name}.png", 2
    while path.exists():
        path, number = folder / f"{name}_{number}.png", number + 1
    write_atomically(path, lambda stream: write_png(picture, stream, record))
    print(f"\r{path}")
    return path
