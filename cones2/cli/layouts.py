"""The layouts of jobs: all are checked before anything is sampled, and one at a time is held."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from ..errors import LayoutError
from ..layout.painted import ColorEntry
from ..layout.regions import Layout, Region
from ..messages import shown
from ..rules import Rules
from ..storage.files import shown_path
from ..storage.images import open_layout_picture
from .jobs import Job

log = logging.getLogger(__name__)

_TRIED = (256, 256)  # cells: what draws nothing here draws nothing anywhere
_Key = tuple[Path, tuple[ColorEntry, ...]]


class Layouts:
    """The layouts of some jobs. Only the one that was asked for last is held: a layout may take 128 MB.

    tolerance: RGB distance, 0–442.
    """

    def __init__(self, tolerance: float, rules: Rules) -> None:
        self._tolerance, self._rules = tolerance, rules
        self._key: _Key | None = None
        self._layout: Layout | None = None

    def check(self, jobs: Sequence[Job]) -> None:
        """Read each picture once and each different layout once, and hold the first job's.

        Logs what jobs and layouts lack. Raises LayoutError naming the file.
        """
        tables: dict[Path, dict[tuple[ColorEntry, ...], None]] = {}
        for job in jobs:
            if job.document is not None:
                job.document.layout(*_TRIED)
            elif job.layout is not None and job.table:
                tables.setdefault(job.layout, {})[job.table] = None
            elif job.layout is not None or job.table:
                lacks = "no layout picture" if job.layout is None else "no colors"
                log.warning("%s has %s: its subjects are not guided to places", shown(job.name), lacks)
        for path, its_tables in tables.items():
            picture = open_layout_picture(path)
            for table in its_tables:
                layout = self._read(path, picture, table)
                if self._key is None:
                    self._key, self._layout = (path, table), layout

    def of(self, job: Job, height: int, width: int) -> Layout | None:
        """The regions of a job that was checked; None where colors or the file are missing.

        height, width: of the picture, in pixels; what a document draws has its proportions.
        """
        if job.document is not None:
            with without_warnings():
                return job.document.layout(height, width)
        if job.layout is None or not job.table:
            return None
        if self._key != (job.layout, job.table):
            self._key = self._layout = None  # free the old one first
            with without_warnings():
                self._layout = self._read(job.layout, open_layout_picture(job.layout), job.table)
            self._key = (job.layout, job.table)
        return self._layout

    def _read(self, path: Path, picture: Image.Image, table: Sequence[ColorEntry]) -> Layout:
        try:
            return self._rules.read_layout(picture, table, self._tolerance)
        except LayoutError as error:
            raise LayoutError(f"{shown_path(path)}: {error}") from error


def outline(job: Job) -> Layout | None:
    """A layout of one cell with the job's subjects, to find what is wrong with their phrases."""
    if job.layout is None or not job.table:
        return None
    cell = torch.ones((1, 1), dtype=torch.bool)
    return Layout(tuple(Region(entry.subject, cell, entry.weight, entry.color) for entry in job.table), 1, 1)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Nothing that was said before is said again in this block."""
    logger = logging.getLogger("cones2")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
