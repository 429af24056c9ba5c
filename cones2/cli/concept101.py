"""One run of `cones2 evaluate concept101`: folders in, figures out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..evaluation.concept101 import measure
from ..evaluation.concept_report import as_json, as_markdown
from ..evaluation.generated import read_generated, read_references
from ..evaluation.report import write_text
from ..evaluation.similarity import Clip, Dino
from .devices import usable_device


@dataclass(frozen=True)
class Concept101Options:
    """What `cones2 evaluate concept101` was asked for: folders, and where the report goes (None: nowhere)."""

    images: Path
    references: Path
    clip: Path
    dino: Path
    device: str | None = None
    out: Path | None = None


def run_concept101(options: Concept101Options) -> int:
    """Measure and print; the exit status. The pictures are looked at before a model is loaded."""
    device = usable_device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    references = read_references(options.references)
    generated = read_generated(options.images, list(references))
    shown = {subject for one in generated for subject in one.subjects}
    needed = {subject: photos for subject, photos in references.items() if subject in shown}
    findings = measure(generated, needed, Clip(options.clip, device), Dino(options.dino, device).pictures)
    text = as_markdown(findings)
    print(text)
    if options.out is not None:
        write_text(options.out / "report.md", text)
        write_text(options.out / "report.json", as_json(findings))
    return 0
