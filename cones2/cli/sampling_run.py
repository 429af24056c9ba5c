"""One run of `cones2 sample`: jobs in, pictures out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from ..diffusers_models.latent_model import DiffusersModel, to_images
from ..diffusers_models.loading import load_model
from ..errors import ModelError
from ..guidance.weight_maps import OutsideMode
from ..layout.document import LayoutDocument
from ..layout.drawing import grid, layout_preview
from ..layout.regions import Layout
from ..messages import shown
from ..picture_adapter.references import References
from ..rules import Rules
from ..sampling.euler import StepInfo
from ..sampling.noise import Prediction
from ..sampling.settings import SamplingSettings
from ..scene import Scene
from ..storage.files import check_folder, shown_path
from ..storage.images import open_photo
from .claims import turns
from .cutouts import CutoutFlag, by_subject, check_known, check_photos
from .delta_flags import RegionDelta, RegionLayers, region_layers, with_delta_files, with_region_deltas
from .devices import is_out_of_memory
from .jobs import Job, SubjectFlag, job_from_flags, job_scene, jobs_from_config
from .layouts import Layouts, outline, without_warnings
from .out_folder import OutFolder
from .output import launched, mark, say
from .processes import own_device
from .reference_flags import ReferenceOptions
from .references import load_references, with_references
from .sampling_record import record_of


@dataclass(frozen=True)
class SampleOptions:
    """What `cones2 sample` was asked for; None leaves a number to the config or the model.

    model: a diffusers folder or a checkpoint file.
    document: what --scene and --region draw.
    tolerance: RGB distance, 0–442.
    typed_positions: use the config's token positions as they are.
    seed: of the first picture.
    num_images: per prompt.
    size: height, width in pixels; None: the model's own.
    photo_start: how much of the photos is in the starting noise; cutouts: photos beside the residuals' own.
    references: subjects from pictures, if any.
    deltas: Custom Diffusion files with their strengths; region_deltas: those that act in a region alone.
    continues: pictures that are in `out` with the same settings are not made again.
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
    size: tuple[int | None, int | None]
    device: str
    dtype: str
    out: Path
    continues: bool = False
    photo_start: float = 0.0
    cutouts: tuple[CutoutFlag, ...] = ()
    references: ReferenceOptions | None = None
    deltas: tuple[tuple[Path, float], ...] = ()
    region_deltas: tuple[RegionDelta, ...] = ()


class _Loaded(NamedTuple):
    """The model with its deltas, and those that act in regions alone."""

    model: DiffusersModel
    regional: Sequence[RegionLayers]


@dataclass(frozen=True, eq=False)
class _Plan:
    """How one job's pictures are made, and what they say about it."""

    job: Job
    settings: SamplingSettings
    record: dict[str, Any]


class _Turn(NamedTuple):
    """One picture."""

    plan: _Plan
    seed: int

    @property
    def name(self) -> str:
        """Its file's."""
        return f"{self.plan.job.name}_seed{self.seed}"

    @property
    def record(self) -> dict[str, Any]:
        """What its file says about it."""
        return {**self.plan.record, "seed": self.seed}


def run_sampling(options: SampleOptions) -> int:
    """Sample every job; the exit status. An interrupt keeps the finished pictures and goes on to the caller.

    Raises Cones2Error for a mistake in any of the jobs before the first picture is sampled.
    """
    jobs = _jobs(options)
    layouts = Layouts(options.tolerance, options.rules)
    layouts.check(jobs)
    loaded = _load(options)
    model = loaded.model
    model.check_size(*_size(options, model))
    check_folder(options.out)
    finished: list[Path] = []
    try:
        _run_jobs(options, loaded, jobs, layouts, finished)
    except KeyboardInterrupt:
        again = "; the same command goes on" if _finds(options) else ""
        begin = "\n" if launched().world == 1 else mark()
        print(f"{begin}interrupted: {len(finished)} finished pictures are kept in {shown_path(options.out)}{again}")
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError("out of memory: choose a smaller --width and --height, or another --device") from error
    return 0


def _finds(options: SampleOptions) -> bool:
    """Whether finished pictures are found again: several processes know by them what is done."""
    return options.continues or launched().world > 1


def _run_jobs(
    options: SampleOptions, loaded: _Loaded, jobs: Sequence[Job], layouts: Layouts, finished: list[Path]
) -> None:
    """Sample the pictures one after the other; each scene is made in its turn, since it may take a gigabyte."""
    model = loaded.model
    several, finds, folder, me = len(jobs) > 1, _finds(options), OutFolder(options.out), launched()
    pictures = None if options.references is None else load_references(options.references, model)
    for job in jobs if several else ():
        _scene(options, loaded, pictures, job, outline(job))
    plans = [_plan(options, model, job) for job in jobs]
    todo = [_Turn(plan, seed) for plan in plans for seed in range(options.seed, options.seed + options.num_images)]

    def is_done(turn: _Turn) -> bool:
        return finds and folder.find(turn.name, turn.record) is not None

    if missing := [turn for turn in todo if not is_done(turn)]:
        mine = turns(missing, me, lambda turn: (options.out, turn.name), is_done)
        for plan, group in groupby(mine, key=attrgetter("plan")):
            with without_warnings() if several else nullcontext():
                layout = layouts.of(plan.job, plan.settings.height, plan.settings.width)
                scene = _scene(options, loaded, pictures, plan.job, layout)
            _run_plan(options, model, plan, layout, scene, group, sum(turn.plan is plan for turn in missing), finished)
            del layout, scene  # before the next ones are made
    if finds and me.is_first:
        _complete(plans, todo, layouts, folder)
        say(f"{len(todo)} pictures are in {shown_path(options.out)}, {len(todo) - len(missing)} of them from before")


def _scene(
    options: SampleOptions, loaded: _Loaded, pictures: References | None, job: Job, layout: Layout | None
) -> Scene:
    model = loaded.model
    cutouts = by_subject(options.cutouts)
    scene = job_scene(job, model, options.negative_prompt, layout, options.typed_positions, options.rules, cutouts)
    if options.photo_start:
        check_photos(job.name, scene, layout)
    if options.references is not None and pictures is not None:
        scene = with_references(
            scene, pictures, options.references, model.text.prompt_tokens(job.prompt), model, layout
        )
    return with_region_deltas(scene, layout, loaded.regional)


def _size(options: SampleOptions, model: DiffusersModel) -> tuple[int, int]:
    """(height, width) in pixels."""
    height, width = options.size
    return height or model.default_size, width or model.default_size


def _jobs(options: SampleOptions) -> list[Job]:
    if options.config is not None:
        jobs = jobs_from_config(options.config, options.prompt, options.layout)
    else:
        jobs = [job_from_flags(options.prompt or "", options.subjects, options.layout, options.document)]
    if options.cutouts:
        check_known(options.cutouts, [name for job in jobs for name in job.names])
    return [_with_overrides(job, options) for job in jobs]


def _with_overrides(job: Job, options: SampleOptions) -> Job:
    given = {"guidance_weight": options.guidance_weight, "outside_weight": options.outside_weight}
    numbers: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    steps = job.guided_steps if options.guided_steps is None else options.guided_steps
    guidance = replace(job.guidance, **numbers, outside_mode=options.outside_mode)
    return replace(job, guidance=guidance, guided_steps=steps)


def _load(options: SampleOptions) -> _Loaded:
    device, dtype = own_device(options.device), getattr(torch, options.dtype)
    model = load_model(options.model, options.tokenizer, device, dtype, prediction_type=options.prediction_type)
    regional = region_layers(model, options.region_deltas)
    return _Loaded(with_delta_files(model, options.deltas, options.region_deltas), regional)


def _plan(options: SampleOptions, model: DiffusersModel, job: Job) -> _Plan:
    height, width = _size(options, model)
    settings = SamplingSettings(
        steps=options.steps,
        guided_steps=job.guided_steps,
        cfg=options.cfg,
        dynamic_cfg=options.dynamic_cfg,
        recurrence=options.recurrence,
        height=height,
        width=width,
        photo_start=options.photo_start,
    )
    return _Plan(job, settings, record_of(options, job, settings))


def _run_plan(
    options: SampleOptions,
    model: DiffusersModel,
    plan: _Plan,
    layout: Layout | None,
    scene: Scene,
    turns: Iterator[_Turn],
    count: int,
    finished: list[Path],
) -> None:
    """Sample the pictures of a job whose turn it is, `count` at most.

    Each finished one is saved at once and its path appended to `finished`. The pictures of the layout and of all
    together are made here, or at the end, by `_complete`, when earlier runs or other processes have a part in them.
    """
    folder, settings, finds = OutFolder(options.out), plan.settings, _finds(options)
    if layout is not None:
        layout.warn_if_stretched(settings.height, settings.width)
        if not finds:
            _save(folder, f"{plan.job.name}_layout", _layout_picture(layout, plan), plan.record)
    pictures: list[Image.Image] = []
    try:
        for turn, picture in _pictures(model, plan, scene, turns, count):
            finished.append(_save(folder, turn.name, picture, turn.record))
            if not finds:
                pictures.append(picture)
    finally:
        if len(pictures) > 1:
            _save(folder, f"{plan.job.name}_grid", grid(pictures), plan.record)


def _complete(plans: Sequence[_Plan], todo: Sequence[_Turn], layouts: Layouts, folder: OutFolder) -> None:
    """The pictures of each job's layout and of all its pictures together, from the files that all processes wrote."""
    for plan, group in groupby(todo, key=attrgetter("plan")):
        layout = layouts.of(plan.job, plan.settings.height, plan.settings.width)
        if layout is not None:
            folder.save_once(f"{plan.job.name}_layout", _layout_picture(layout, plan), plan.record)
        found = [folder.find(turn.name, turn.record) for turn in group]
        if len(found) > 1:
            pictures = [open_photo(path) for path in found if path is not None]
            folder.save_once(f"{plan.job.name}_grid", grid(pictures), plan.record)


def _layout_picture(layout: Layout, plan: _Plan) -> Image.Image:
    return layout_preview(layout, plan.settings.height, plan.settings.width)


def _pictures(
    model: DiffusersModel, plan: _Plan, scene: Scene, turns: Iterator[_Turn], count: int
) -> Iterator[tuple[_Turn, Image.Image]]:
    from tqdm import tqdm

    steps, several = plan.settings.steps, launched().world > 1
    with tqdm(total=count * steps, desc=shown(plan.job.name), unit="step", disable=several) as bar:

        def advance(_: StepInfo) -> None:
            bar.update()

        for turn in turns:
            latents = model.sample(scene, replace(plan.settings, seeds=(turn.seed,)), advance)
            yield turn, to_images(model.decode(latents))[0]


def _save(folder: OutFolder, name: str, picture: Image.Image, record: dict[str, Any]) -> Path:
    path = folder.save(name, picture, record)
    say(shown_path(path))
    return path
