"""What a sampled picture says about how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..custom_diffusion.files import weights_file
from ..layout.colors import color_name
from ..sampling.settings import SamplingSettings
from .delta_flags import delta_record
from .jobs import Job
from .out_folder import digest_of

if TYPE_CHECKING:
    from .sampling_run import SampleOptions


def record_of(options: SampleOptions, job: Job, settings: SamplingSettings) -> dict[str, Any]:
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
        "photo_start": settings.photo_start,
        "cutouts": [[str(flag.subject), str(flag.path)] for flag in options.cutouts],
        **(options.references.record() if options.references else {}),
        **delta_record(options.deltas, options.region_deltas),
        "inputs": digest_of(_inputs(options, job)),
    }


def _inputs(options: SampleOptions, job: Job) -> list[Path]:
    """The files of a job's subjects, of their photos and the adapter, and its layout."""
    if job.config:
        residuals = [residual for _, _, residual in job.config.subjects]
    else:
        residuals = [flag.residual for flag in job.subjects]
    photos = [flag.path for flag in options.cutouts] + (options.references.files if options.references else [])
    paths = [path for path, _ in options.deltas] + [delta.path for delta in options.region_deltas]
    deltas = [weights_file(path) for path in paths]
    return [path for path in (*residuals, *photos, *deltas, job.layout) if path is not None]
