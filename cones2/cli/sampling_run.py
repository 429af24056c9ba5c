"""One run of `cones2 sample`: jobs in, pictures out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..diffusers_models.latent_model import DiffusersModel, to_images
from ..diffusers_models.loading import load_model
from ..errors import ModelError
from ..guidance.weight_maps import OutsideMode
from ..layout.colors import color_name
from ..layout.document import LayoutDocument
from ..layout.drawing import grid, layout_picture
from ..layout.regions import Layout
from ..messages import shown
from ..rules import Rules
from ..sampling.euler import StepInfo
from ..sampling.noise import Prediction
from ..sampling.settings import SamplingSettings
from ..scene import Scene
from ..storage.files import check_folder, shown_path, write_atomically
from ..storage.png import write_png
from .devices import is_out_of_memory, usable_device
from .jobs import Job, SubjectFlag, job_from_flags, job_scene, jobs_from_config
from .layouts import Layouts, outline, without_warnings

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class SampleOptions:
    """What `cones2 sample` was asked for; None leaves a number to the config or the model.

    model: a diffusers folder or a checkpoint file.
    document: what --scene and --region draw.
    tolerance: RGB distance, 0–442.
    typed_positions: use the config's token positions as they are.
    seed: of the first picture.
    num_images: per prompt.
    size: height, width in pixels.
    """

    model: Path
    tokenizer: Path | None
    prediction_type: Prediction | None
    config: Path | None
    prompt: str | None
    negative_prompt: str
    subjects: tuple[SubjectFlag, ...]
    layout: Path | None
    document: LayoutDocument | None
    tolerance: float
    typed_positions: bool
    rules: Rules
    guided_steps: int | None
    guidance_weight: float | None
    outside_weight: float | None
    outside_mode: OutsideMode
    recurrence: bool
    steps: int
    cfg: float
    dynamic_cfg: bool
    seed: int
    num_images: int
    size: tuple[int, int] | None
    device: str
    dtype: str
    out: Path


def run_sampling(options: SampleOptions) -> int:
    """Sample every job; the exit status. An interrupt keeps the finished pictures and goes on to the caller.

    Raises Cones2Error for a mistake in any of the jobs before the first picture is sampled.
    """
    jobs = _jobs(options)
    layouts = Layouts(options.tolerance, options.rules)
    layouts.check(jobs)
    model = _load(options)
    model.check_size(*_size(options, model))
    check_folder(options.out)
    finished: list[Path] = []
    try:
        _run_jobs(options, model, jobs, layouts, finished)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {len(finished)} finished pictures are kept in {shown_path(options.out)}")
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError("out of memory: choose a smaller --size, or another --device") from error
    return 0


def _run_jobs(
    options: SampleOptions, model: DiffusersModel, jobs: Sequence[Job], layouts: Layouts, finished: list[Path]
) -> None:
    """Sample the jobs one after the other; each scene is made in its turn, since it may take a gigabyte."""
    several = len(jobs) > 1
    for job in jobs if several else ():
        _scene(options, model, job, outline(job))
    for job in jobs:
        with without_warnings() if several else nullcontext():
            layout = layouts.of(job, *_size(options, model))
            scene = _scene(options, model, job, layout)
        _run_job(options, model, job, layout, scene, finished)
        del layout, scene  # before the next ones are made


def _scene(options: SampleOptions, model: DiffusersModel, job: Job, layout: Layout | None) -> Scene:
    return job_scene(job, model, options.negative_prompt, layout, options.typed_positions, options.rules)


def _size(options: SampleOptions, model: DiffusersModel) -> tuple[int, int]:
    """(height, width) in pixels."""
    return options.size or (model.default_size, model.default_size)


def _jobs(options: SampleOptions) -> list[Job]:
    if options.config is not None:
        jobs = jobs_from_config(options.config, options.prompt, options.layout)
    else:
        jobs = [job_from_flags(options.prompt or "", options.subjects, options.layout, options.document)]
    return [_with_overrides(job, options) for job in jobs]


def _with_overrides(job: Job, options: SampleOptions) -> Job:
    given = {"guidance_weight": options.guidance_weight, "outside_weight": options.outside_weight}
    numbers = {name: value for name, value in given.items() if value is not None}
    steps = job.guided_steps if options.guided_steps is None else options.guided_steps
    guidance = replace(job.guidance, **numbers, outside_mode=options.outside_mode)
    return replace(job, guidance=guidance, guided_steps=steps)


def _load(options: SampleOptions) -> DiffusersModel:
    device, dtype = usable_device(options.device), getattr(torch, options.dtype)
    model = load_model(options.model, options.tokenizer, device, dtype, prediction_type=options.prediction_type)
    if model.is_xl:
        raise ModelError(
            f"{shown_path(options.model)} is an SDXL model: the command line samples SD 1.x and 2.x; "
            "use the ComfyUI nodes for SDXL"
        )
    return model


def _run_job(
    options: SampleOptions,
    model: DiffusersModel,
    job: Job,
    layout: Layout | None,
    scene: Scene,
    finished: list[Path],
) -> None:
    """Sample one job; each finished picture is saved at once and its path appended to `finished`."""
    height, width = _size(options, model)
    settings = SamplingSettings(
        steps=options.steps,
        guided_steps=job.guided_steps,
        cfg=options.cfg,
        dynamic_cfg=options.dynamic_cfg,
        recurrence=options.recurrence,
        height=height,
        width=width,
    )
    record = _record(options, job, settings)
    if layout is not None:
        layout.warn_if_stretched(height, width)
        _save(options.out, f"{job.name}_layout", layout_picture(layout, height, width), record)
    pictures: list[Image.Image] = []
    try:
        for seed, picture in _pictures(options, model, job, scene, settings):
            finished.append(_save(options.out, f"{job.name}_seed{seed}", picture, {**record, "seed": seed}))
            pictures.append(picture)
    finally:
        if len(pictures) > 1:
            _save(options.out, f"{job.name}_grid", grid(pictures), record)


def _pictures(
    options: SampleOptions, model: DiffusersModel, job: Job, scene: Scene, settings: SamplingSettings
) -> Iterator[tuple[int, Image.Image]]:
    from tqdm import tqdm

    with tqdm(total=options.num_images * settings.steps, desc=shown(job.name), unit="step") as bar:

        def advance(_: StepInfo) -> None:
            bar.update()

        for seed in range(options.seed, options.seed + options.num_images):
            latents = model.sample(scene, replace(settings, seeds=(seed,)), advance)
            yield seed, to_images(model.decode(latents))[0]


def _record(options: SampleOptions, job: Job, settings: SamplingSettings) -> dict[str, Any]:
    """What a PNG says about how it was made. Its keys are a file format."""
    if job.config:
        subjects = [{"subject": name, "residual": str(residual)} for name, _, residual in job.config.subjects]
    else:
        subjects = [{"subject": flag.phrase, "residual": str(flag.residual or "")} for flag in job.subjects]
    return {
        "model": str(options.model),
        "prompt": job.prompt,
        "negative_prompt": options.negative_prompt,
        "subjects": subjects,
        "layout": str(job.layout or ""),
        "scene": job.document.to_json() if job.document else "",
        "colours": {color_name(entry.color): [entry.subject, entry.weight] for entry in job.table},
        "steps": settings.steps,
        "guidance_steps": settings.guided_count,
        "guidance_weight": job.guidance.guidance_weight,
        "weight_negative": job.guidance.outside_weight,
        "negative_mode": job.guidance.outside_mode,
        "recurrence": settings.recurrence,
        "cfg": settings.cfg,
        "dynamic_cfg": settings.dynamic_cfg or options.rules.scales_cfg,
        "size": [settings.height, settings.width],
        "dtype": options.dtype,
        "tolerance": options.tolerance,
        "strict_positions": options.typed_positions,
        "prediction_type": options.prediction_type or "",
        "published_rules": options.rules.name,
    }


def _save(folder: Path, name: str, picture: Image.Image, record: dict[str, Any]) -> Path:
    """Write a PNG under the first free name, so that earlier results stay."""
    path, number = folder / f"{name}.png", 2
    while os.path.exists(path):
        path, number = folder / f"{name}_{number}.png", number + 1
    write_atomically(path, lambda stream: write_png(picture, stream, record))
    print(f"\r{shown_path(path)}")
    return path
