"""A run: every arm draws every suite, in batches that are always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from ..storage.files import write_atomically
from ..storage.png import write_png
from .arms import Arm
from .cases import Case, Suite
from .drawing import Material, draw
from .results import Key, Result, Results
from .scores import Verdict

BATCH = 20
"""Cases that are drawn together. The last bits of a picture may depend on it, so it never depends on the machine."""


class Bench(Protocol):
    """A world that can be drawn and judged."""

    @property
    def material(self) -> Material:
        """What arms draw with."""
        ...

    def judge(self, pictures: Tensor, cases: Sequence[Case]) -> list[Verdict]:
        """The verdict about each picture [B, 3, H, W] in [0, 1] of its case."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """One batch: cases of a suite that an arm draws."""

    arm: Arm
    suite: Suite
    cases: tuple[Case, ...]

    @property
    def keys(self) -> list[Key]:
        """Of its pictures."""
        return [Key(self.suite.name, self.arm.name, case.name) for case in self.cases]


def jobs(arms: Sequence[Arm], suites: Sequence[Suite]) -> list[Job]:
    """All batches; the arms take turns on the same cases, so that an interrupted run compares what it has."""
    return [
        Job(arm, suite, suite.cases[first : first + BATCH])
        for suite in suites
        for first in range(0, len(suite.cases), BATCH)
        for arm in arms
    ]


def unfinished(all_jobs: Sequence[Job], results: Results) -> list[Job]:
    """The jobs of which something is missing."""
    return [job for job in all_jobs if any(key not in results for key in job.keys)]


def run(bench: Bench, todo: Sequence[Job], results: Results) -> None:
    """Draw and judge what is not finished yet.

    A batch of which something is missing is drawn whole: its pictures have the bits they have in an undisturbed run.
    """
    for job in todo:
        missing = {key for key in job.keys if key not in results}
        if missing:
            results.add([result for result in _finished(bench, job, results.folder) if result.key in missing])


def _finished(bench: Bench, job: Job, folder: Path) -> Iterator[Result]:
    pictures = draw(bench.material, job.arm, job.cases)
    verdicts = bench.judge(pictures, job.cases)
    for key, case, picture, verdict in zip(job.keys, job.cases, pictures, verdicts, strict=True):
        pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
        name = f"pictures/{folder_name(key.suite)}/{folder_name(key.arm)}/{key.case}.png"
        prompt = case.described if job.arm.looks == "described" else case.prompt
        _save(folder / name, pixels, {**key._asdict(), "prompt": prompt, "seed": case.seed})
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest()
        yield Result(key, case.seed, prompt, job.arm.forwards(len(case.subjects)), verdict, name, digest)


def folder_name(name: str) -> str:
    """An arm's or suite's name as a folder's."""
    return name.replace(",", " ")


def _save(path: Path, pixels: np.ndarray, settings: dict[str, object]) -> None:
    write_atomically(path, lambda stream: write_png(Image.fromarray(pixels), stream, settings), overwrite=True)
