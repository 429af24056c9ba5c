"""What to sample: one job per entry of a guidance config, or one from --subject and --layout flags."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..concepts.residual_file import load_residual
from ..diffusers_models.latent_model import EncodedPrompt, StableDiffusion
from ..errors import Cones2Error, ConfigError, LayoutError
from ..layout.colors import DEFAULT_TOLERANCE, parse_color
from ..layout.regions import DEFAULT_WEIGHT, ColorEntry, Layout, layout_from_colors
from ..prompt.tokens import Claim, locate_subjects
from ..published.config import WEIGHT_RANGE, GuidanceConfig, load_guidance_configs
from ..published.placement import resolve_subjects
from ..published.rules import PublishedRules, published_layout
from ..scene import GuidanceNumbers, PlacedResidual, Scene, compose, compose_published
from ..storage.images import open_layout_picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubjectFlag:
    """`--subject "PHRASE=FILE@WEIGHT:COLOR"`: file, weight and color are optional."""

    phrase: str
    residual: Path | None
    weight: float
    color: str | None


@dataclass(frozen=True)
class Job:
    """One prompt to sample. name: how its files are called. config: the entry it came from, if any.
    table: color table of the layout file. subjects: the flags it came from, if any."""

    name: str
    prompt: str
    layout: Path | None
    table: tuple[ColorEntry, ...]
    guidance_steps: int | None
    numbers: GuidanceNumbers
    config: GuidanceConfig | None = None
    subjects: tuple[SubjectFlag, ...] = ()


def parse_subject(text: str) -> SubjectFlag:
    """Read "dog=path/dog.safetensors@2.5:#ff0000", "dog=dog.pt", "dog:#f00" or "dog:255,0,0".

    Raises ConfigError for a missing phrase or a color or weight that cannot be read.
    """
    phrase, equals, rest = text.partition("=")
    if not equals:
        phrase, _, rest = text.rpartition(":")
        phrase, rest = (phrase, ":" + rest) if phrase else (text, "")
    path, color = _split_color(rest)
    path, weight = _split_weight(path)
    if not equals and not path:
        phrase, weight = _split_weight(phrase)
    if not phrase.strip():
        raise ConfigError(f'--subject "{text}" names no subject: write "dog=dog.safetensors@2.5:#ff0000"')
    low, high = WEIGHT_RANGE
    if not low <= weight <= high:
        raise ConfigError(f'--subject "{text}" has the weight {weight:g}: it must be a number from {low:g} to {high:g}')
    if not path and color is None:
        raise ConfigError(f'--subject "{text}" has neither a residual file nor a color')
    return SubjectFlag(phrase.strip(), Path(path) if path else None, weight, color)


def _split_color(text: str) -> tuple[str, str | None]:
    head, separator, tail = text.rpartition(":")
    if not separator or "/" in tail or "\\" in tail:  # C:\dog.pt
        return text, None
    parse_color(tail)
    return head, tail


def _split_weight(text: str) -> tuple[str, float]:
    head, separator, tail = text.rpartition("@")
    if not separator:
        return text, DEFAULT_WEIGHT
    try:
        return head, float(tail)
    except ValueError:
        return text, DEFAULT_WEIGHT  # an "@" in the file's name


def jobs_from_config(path: Path, prompt: str | None, layout: Path | None) -> list[Job]:
    """Every entry of a published config; prompt and layout replace the entries' own."""
    return [
        Job(
            name=f"{path.stem}_{config.entry}",
            prompt=prompt or config.prompt,
            layout=layout or config.layout,
            table=tuple(ColorEntry(parse_color(line.color), line.subject, line.weight) for line in config.colors),
            guidance_steps=config.guidance_steps,
            numbers=GuidanceNumbers(config.guidance_weight, config.weight_negative),
            config=replace(config, prompt=prompt or config.prompt),
        )
        for config in load_guidance_configs(path)
    ]


def job_from_flags(prompt: str, subjects: Sequence[SubjectFlag], layout: Path | None) -> Job:
    """A job without a config. Raises ConfigError when colors and layout do not come together."""
    table = tuple(
        ColorEntry(parse_color(subject.color), subject.phrase, subject.weight)
        for subject in subjects
        if subject.color is not None
    )
    if table and layout is None:
        raise ConfigError(f'"{table[0].subject}" has a color but there is no layout picture: give it as --layout FILE')
    if layout is not None and not table:
        raise ConfigError(f'{layout} needs a color per subject: write --subject "dog=dog.safetensors:#ff0000"')
    return Job("picture", prompt, layout, table, None, GuidanceNumbers(), subjects=tuple(subjects))


def job_layout(job: Job, tolerance: float = DEFAULT_TOLERANCE, rules: PublishedRules | None = None) -> Layout | None:
    """The job's regions, read from its layout file, with exact colors under published rules.

    None, with a warning, where colors or the file are missing. Raises LayoutError naming the file.
    """
    if job.layout is None or not job.table:
        if job.layout is not None or job.table:
            lacks = "no layout picture" if job.layout is None else "no colors"
            log.warning("%s has %s: its subjects are not guided to places", job.name, lacks)
        return None
    try:
        picture = open_layout_picture(job.layout)
        if rules is not None:
            return published_layout(picture, job.table)
        return layout_from_colors(picture, job.table, tolerance)
    except LayoutError as error:
        raise LayoutError(f"{job.layout}: {error}") from error


def job_scene(
    job: Job,
    model: StableDiffusion,
    negative: str,
    layout: Layout | None,
    strict_positions: bool,
    rules: PublishedRules | None,
) -> Scene:
    """Bind the job to a model: tokens located, residuals loaded and added, maps made."""
    if rules is not None:
        encoded = model.encode_published(rules, job.prompt, negative)[0]
        picture = None if job.layout is None else (open_layout_picture(job.layout), job.table)
        residuals = _placed_residuals(job, model, encoded, strict_positions=True)
        return compose_published(model, rules, job.prompt, negative, residuals, picture, job.numbers)
    encoded, unprompted = model.encode_prompts(job.prompt, negative)
    residuals = _placed_residuals(job, model, encoded, strict_positions)
    try:
        return compose(model, encoded, unprompted, residuals, layout, job.numbers, _region_claims(job, model, encoded))
    except Cones2Error as error:
        raise type(error)(f"{job.config.where}: {error}" if job.config else str(error)) from error


def _placed_residuals(
    job: Job, model: StableDiffusion, encoded: EncodedPrompt, strict_positions: bool
) -> list[PlacedResidual]:
    if job.config is None:
        claims = _flag_claims(job, model, encoded)
        return [
            (load_residual(flag.residual, flag.phrase), claim.spans)
            for flag, claim in zip(job.subjects, claims, strict=True)
            if flag.residual is not None
        ]
    placements = resolve_subjects(job.config, encoded.tokens, model.tokenize, strict_positions)
    return [
        (load_residual(placement.residual, placement.phrase), placement.spans)
        for placement in placements
        if placement.residual is not None
    ]


def _flag_claims(job: Job, model: StableDiffusion, encoded: EncodedPrompt) -> list[Claim]:
    """The tokens of each --subject, with or without a residual or region of its own."""
    return locate_subjects(encoded.tokens, [flag.phrase for flag in job.subjects], model.tokenize, share=True)


def _region_claims(job: Job, model: StableDiffusion, encoded: EncodedPrompt) -> list[Claim] | None:
    """The tokens of each region, where the same flag also names its residual: both take the same ones."""
    if job.config is not None:
        return None
    claims = _flag_claims(job, model, encoded)
    return [claim for flag, claim in zip(job.subjects, claims, strict=True) if flag.color is not None]
