"""One run of `cones2 evaluate toyworld`: scenes in, report out, on one process or several."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..assets import TOYWORLD
from ..errors import Cancelled, Cones2Error
from ..evaluation.arms import Arm
from ..evaluation.cases import Suite
from ..evaluation.choices import Looks, Shape
from ..evaluation.report import write_report
from ..evaluation.results import Results, claim_folder
from ..evaluation.runner import BATCH, Bench, Job, jobs, run, unfinished
from ..evaluation.toyworld.bench import AdapterPaths, open_bench, weights_digest
from ..evaluation.toyworld.suites import toy_suite
from ..storage.files import shown_path
from .claims import turns
from .output import Rank, launched
from .processes import own_device

_GRACE = 2.0  # seconds for a helping process to end by itself


@dataclass(frozen=True)
class EvaluateOptions:
    """What `cones2 evaluate toyworld` was asked for.

    count: scenes per suite. seeds: pictures of each. subjects: per scene, a suite for each number and shape.
    model: folder with a model of the toy world; None: the shipped one.
    residuals: folder; None: the model's own. device: None: cuda where there is one.
    processes: that share the pictures; None: as many as are useful here.
    looks: which custom subjects are in the scenes.
    adapter: what arms that read pictures read them with; None: there is none.
    """

    count: int
    seed: int
    out: Path
    subjects: tuple[int, ...]
    shapes: tuple[Shape, ...]
    arms: tuple[Arm, ...]
    residuals: Path | None = None
    model: Path | None = None
    device: str | None = None
    processes: int | None = None
    looks: Looks = "sayable"
    seeds: int = 1
    adapter: AdapterPaths | None = None

    def decides(self) -> dict[str, Any]:
        """What the pictures depend on, beside suite and arm."""
        settings = {
            "world": "toyworld",
            "n": self.count if self.seeds == 1 else f"{self.count} x {self.seeds} seeds",
            "seed": self.seed,
            "batch": BATCH,
            "weights": weights_digest(self.residuals, self.model or TOYWORLD, self.adapter),
            "model": "shipped" if self.model is None else str(self.model),
            "residuals": "the model's" if self.residuals is None else str(self.residuals),
            "device": own_device(self.device).type,
            "cones2": __version__,
            "torch": torch.__version__,
        }
        return settings if self.adapter is None else settings | {"adapter": str(self.adapter.weights)}

    def suites(self) -> list[Suite]:
        """The scenes to draw."""
        return [
            toy_suite(count, shape, self.count, self.seed, self.looks, self.seeds)
            for count in self.subjects
            for shape in self.shapes
        ]


def run_evaluation(options: EvaluateOptions) -> int:
    """Draw, judge and report; the exit status. An interrupt keeps the finished pictures and goes on to the caller."""
    results = judged_pictures(options)
    if results is not None:
        print(write_report(results, options.arms, options.suites(), options.decides()))
        print(f"{shown_path(options.out / 'report.md')}: {len(results)} pictures judged")
    return 0


def judged_pictures(options: EvaluateOptions) -> Results | None:
    """All pictures, drawn and judged; None on a process that only helps. Interrupts as `run_evaluation`."""
    claim_folder(options.out, options.decides())
    me = launched()
    try:
        if me.world == 1:
            return _all_here(options)
        results = _shown_work(options, me) if me.is_first else _work(options, me)
    except KeyboardInterrupt:
        if me.is_first:
            kept = f"{len(Results(options.out))} finished pictures are kept in {shown_path(options.out)}"
            print(f"\ninterrupted: {kept}; the same command goes on")
        raise
    return results if me.is_first else None


def _all_here(options: EvaluateOptions) -> Results:
    """Every job, on processes that this one starts."""
    left = unfinished(jobs(options.arms, options.suites()), Results(options.out))
    wanted = options.processes or (_cores() if own_device(options.device).type == "cpu" else 1)
    world = max(1, min(wanted, len(left)))
    with _helpers(options, world):
        return _shown_work(options, Rank(0, world))


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _helpers(options: EvaluateOptions, world: int) -> Iterator[None]:
    """All processes but the first; what one of them leaves undone the first one does. Stopped after the block."""
    context = multiprocessing.get_context("spawn")
    helpers = [
        context.Process(target=_help, args=(options, Rank(number, world)), daemon=True) for number in range(1, world)
    ]
    try:
        for helper in helpers:
            helper.start()
        yield
    finally:
        for helper in helpers:
            helper.join(_GRACE)  # Ctrl-C reaches it too
            if helper.is_alive():
                helper.terminate()
                helper.join()


def _help(options: EvaluateOptions, me: Rank) -> None:
    """What a helping process does. It stops after its batch when the process that started it is gone."""
    parent = os.getppid()

    def check(_: Results) -> None:
        if os.getppid() != parent:
            raise Cancelled("nobody waits for this process any more")

    try:
        _work(options, me, check)
    except (Cancelled, KeyboardInterrupt):
        pass
    except Cones2Error as error:
        sys.exit(f"error: {error}")


def _work(options: EvaluateOptions, me: Rank, on_look: Callable[[Results], object] = lambda results: None) -> Results:
    """Draw what is this process's turn. One thread each: the tensors are tiny, and threads would change the bits.

    on_look: called with what all processes have finished, again and again.
    """
    torch.set_num_threads(1)
    results = Results(options.out, *me)
    bench: Bench | None = None

    def look() -> None:
        if me.world > 1:
            results.refresh()
        on_look(results)

    def is_done(job: Job) -> bool:
        return all(key in results for key in job.keys)

    everything = jobs(options.arms, options.suites())
    for job in turns(everything, me, lambda job: (options.out, "/".join(job.keys[0])), is_done, look):
        if bench is None:
            device = own_device(options.device)
            bench = open_bench(options.residuals, options.model or TOYWORLD, device, options.adapter)
        run(bench, [job], results)
    look()
    return results


def _shown_work(options: EvaluateOptions, me: Rank) -> Results:
    """The same with a progress bar of what all processes do."""
    from tqdm import tqdm

    total = sum(len(suite.cases) for suite in options.suites()) * len(options.arms)
    done = Results(options.out)
    there = sum(key in done for job in jobs(options.arms, options.suites()) for key in job.keys)
    with tqdm(total=total, initial=there, desc="drawing", unit="picture") as bar:
        return _work(options, me, lambda results: bar.update(there + len(results) - len(done) - bar.n))
