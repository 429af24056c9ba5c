"""One run of `cones2 evaluate toyworld`: scenes in, report out, on one process or several."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..assets import TOYWORLD
from ..errors import Cancelled, Cones2Error, ConfigError
from ..evaluation.arms import Arm
from ..evaluation.cases import Suite
from ..evaluation.choices import Looks, Shape
from ..evaluation.report import write_report
from ..evaluation.results import Results, claim_folder
from ..evaluation.runner import BATCH, Job, jobs, run, share_of, unfinished
from ..evaluation.toyworld.bench import open_bench, weights_digest
from ..evaluation.toyworld.suites import toy_suite
from ..storage.files import shown_path
from .devices import usable_device

_PATIENCE = 600  # seconds without a new picture after which the other processes are given up
_POLL = 0.5
_GRACE = 2.0  # seconds for a helping process to end by itself


@dataclass(frozen=True)
class EvaluateOptions:
    """What `cones2 evaluate toyworld` was asked for.

    count: scenes per suite. subjects: per scene, a suite for each number and shape.
    model: folder with a model of the toy world; None: the shipped one.
    residuals: folder; None: the model's own. device: None: cuda where there is one.
    processes: that share the pictures; None: as many as are useful here.
    looks: which custom subjects are in the scenes.
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

    def decides(self) -> dict[str, Any]:
        """What the pictures depend on, beside suite and arm."""
        return {
            "world": "toyworld",
            "n": self.count,
            "seed": self.seed,
            "batch": BATCH,
            "weights": weights_digest(self.residuals, self.model or TOYWORLD),
            "model": "shipped" if self.model is None else str(self.model),
            "residuals": "the model's" if self.residuals is None else str(self.residuals),
            "device": _device(self).type,
            "cones2": __version__,
            "torch": torch.__version__,
        }

    def suites(self) -> list[Suite]:
        """The scenes to draw."""
        return [
            toy_suite(count, shape, self.count, self.seed, self.looks)
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
    everything = jobs(options.arms, options.suites())
    rank, world = _launched()
    try:
        results = _all_here(options, everything) if world == 1 else _among_others(options, everything, rank, world)
    except KeyboardInterrupt:
        if rank == 0:
            kept = f"{len(Results(options.out))} finished pictures are kept in {shown_path(options.out)}"
            print(f"\ninterrupted: {kept}; the same command goes on")
        raise
    return results if rank == 0 else None


def _launched() -> tuple[int, int]:
    """This process's number and how many there are, as `accelerate launch` and `torchrun` say."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _among_others(options: EvaluateOptions, everything: Sequence[Job], rank: int, world: int) -> Results:
    """This process's share of the jobs; the first one waits until all are done."""
    results = Results(options.out, rank, world)
    mine = share_of(everything, rank, world)
    if rank > 0:
        _work(options, mine, results, lambda count: None)
    else:
        _shown_work(options, mine, results)
        _wait_for_others(everything, results)
    return results


def _all_here(options: EvaluateOptions, everything: Sequence[Job]) -> Results:
    """Every job, on processes that this one starts."""
    left = unfinished(everything, Results(options.out))
    wanted = options.processes or (_cores() if _device(options).type == "cpu" else 1)
    world = max(1, min(wanted, len(left)))
    results = Results(options.out, 0, world)
    shares = [[everything.index(job) for job in share_of(left, rank, world)] for rank in range(world)]
    with _helpers(options, shares) as helpers:
        _shown_work(options, [everything[index] for index in shares[0]], results)
        for helper in helpers:
            helper.join()
            if helper.exitcode:
                raise ConfigError("a helping process failed: its pictures are missing; see its message above")
    results.refresh()
    return results


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _helpers(options: EvaluateOptions, shares: Sequence[Sequence[int]]) -> Iterator[list[SpawnProcess]]:
    """Processes for all shares of the jobs but the first; stopped when the block is left early."""
    context = multiprocessing.get_context("spawn")
    helpers = [
        context.Process(target=_help, args=(options, share, rank, len(shares)), daemon=True)
        for rank, share in enumerate(shares)
        if rank > 0
    ]
    try:
        for helper in helpers:
            helper.start()
        yield helpers
    finally:
        for helper in helpers:
            helper.join(_GRACE)  # Ctrl-C reaches it too
            if helper.is_alive():
                helper.terminate()
                helper.join()


def _help(options: EvaluateOptions, share: Sequence[int], rank: int, world: int) -> None:
    """What a helping process does with its share of the run's jobs.

    It stops after its batch when the process that started it is gone.
    """
    parent = os.getppid()

    def check(_: int) -> None:
        if os.getppid() != parent:
            raise Cancelled("nobody waits for this process any more")

    try:
        everything = jobs(options.arms, options.suites())
        _work(options, [everything[index] for index in share], Results(options.out, rank, world), check)
    except (Cancelled, KeyboardInterrupt):
        pass
    except Cones2Error as error:
        sys.exit(f"error: {error}")


def _work(
    options: EvaluateOptions, mine: Sequence[Job], results: Results, on_pictures: Callable[[int], object]
) -> None:
    """Draw this process's jobs. One thread each: the tensors are tiny, and threads would change the bits."""
    torch.set_num_threads(1)
    if left := unfinished(mine, results):
        run(open_bench(options.residuals, options.model or TOYWORLD, _device(options)), left, results, on_pictures)


def _shown_work(options: EvaluateOptions, mine: Sequence[Job], results: Results) -> None:
    """The same with a progress bar."""
    from tqdm import tqdm

    total = sum(len(job.cases) for job in unfinished(mine, results))
    with tqdm(total=total, desc="drawing", unit="picture") as bar:
        _work(options, mine, results, bar.update)


def _device(options: EvaluateOptions) -> torch.device:
    cuda = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return usable_device(options.device or (cuda if torch.cuda.is_available() else "cpu"))


def _wait_for_others(everything: Sequence[Job], results: Results) -> None:
    """Until the other processes' pictures are there. Raises ConfigError when none has come for ten minutes."""
    known, since = len(results), time.monotonic()
    while missing := sum(key not in results for job in everything for key in job.keys):
        if time.monotonic() - since > _PATIENCE:
            raise ConfigError(f"{missing} pictures of the other processes are missing: start the same command again")
        time.sleep(_POLL)
        results.refresh()
        if len(results) > known:
            known, since = len(results), time.monotonic()
