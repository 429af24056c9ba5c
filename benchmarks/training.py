"""The paper's training recipe and the direct one, on the same model and photos, in one run.

    python benchmarks/training.py [--toy-subject NAME …] [--seeds 2]
    python benchmarks/training.py --model DIR --subject NAME=PHOTOS[:TEST_PHOTOS] … [--resolution PX]
        either with [--paper-steps N] [--paper-rate LR] [--direct-steps N] [--direct-rate LR] [--direct-batch N]

For every subject and seed the recipes are trained one after the other: paper with the published values, on the
toy world also with a learning rate tuned for it, and direct. Several times on the way the
residual is judged: denoising error on unseen pictures (TEST_PHOTOS, or the photos themselves where none
are given) with noises, timesteps and captions that no training step uses, and on the toy world also
fidelity, the share of sampled pictures with the subject's two colors as its detector sees them. Judging
is not timed. Prints step time, peak memory, both scores, and how soon the direct method reaches what each
paper recipe ends with.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import toy_subjects
from live_bytes import LiveBytes
from torch import Tensor

from cones2.diffusers_models.for_training import training_model
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.training.batches import LatentBatches, LatentView, encode_views
from cones2.training.config import TrainingConfig, default_config
from cones2.training.loop import Trainer
from cones2.training.methods import ResidualMethod, make_method
from cones2.training.objective import denoising_error
from cones2.training.views import Photo, ViewSettings, load_photos, make_views

JUDGED_AT = (0.1, 0.25, 0.5)  # shares of a run's steps, and at its end
JUDGED_PAIRS = 256
DIRECT = "direct"
TOY_SUBJECTS = ("purple_yellow_mug", "blue_white_dog", "red_yellow_fish")
# Tried on two subjects: 2e-4, 5e-4, 1e-3 and 3e-3, judged after 100, 200 and 300 steps.
TOY_PAPER = {"steps": 300, "learning_rate": 5e-4}


@dataclass(frozen=True, eq=False)
class Subject:
    """What both methods learn and are judged on. fidelity: residual → share in 0 … 1, where there is a judge."""

    name: str
    phrase: str
    photos: Sequence[Photo]
    unseen: Sequence[Photo]
    fidelity: Callable[[Tensor], float] | None = None


@dataclass(frozen=True)
class Judgement:
    """Processor seconds of training so far, and how good the residual was then."""

    seconds: float
    error: float
    fidelity: float | None


@dataclass(frozen=True)
class Run:
    """One training: median seconds of a step, peak bytes of a step, error without residual, judgements."""

    step_seconds: float
    peak: int
    start: float
    judged: Sequence[Judgement]

    @property
    def end(self) -> Judgement:
        return self.judged[-1]

    def reaches_error(self, goal: Judgement) -> float:
        """Seconds from which on the error is at most the goal's; infinite: never."""
        return self._from_when(lambda one: one.error <= goal.error)

    def reaches_fidelity(self, goal: Judgement) -> float:
        """Seconds from which on the fidelity is at least the goal's; infinite: never, or nothing measures it."""
        return self._from_when(lambda one: None not in (one.fidelity, goal.fidelity) and one.fidelity >= goal.fidelity)

    def _from_when(self, good: Callable[[Judgement], bool]) -> float:
        """A score that was good once by luck does not count: it must stay good."""
        seconds = math.inf
        for one in reversed(self.judged):
            if not good(one):
                break
            seconds = one.seconds
        return seconds


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    model = toy_subjects.toy_model() if args.model is None else load_model(args.model)
    subjects = _toy(model, args.toy_subject) if args.model is None else _given(args.subject)
    name = "the toy world" if args.model is None else args.model.name
    print(f"torch {torch.__version__}, {args.threads} threads, {name}; seconds are processor time\n")
    print("| subject | seed | recipe | s/step | peak MiB | s | error before → after | fidelity |")
    print("|---|---|---|---|---|---|---|---|")
    trained = []
    for subject in subjects:
        for seed in range(args.seeds):
            runs = {}
            for name, config in _recipes(args, subject.phrase, seed).items():
                runs[name] = _run(model, config, subject, args.resolution)
                _print_run(subject.name, seed, name, runs[name])
            trained.append(runs)
    _print_summary(trained)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy-subject", action="append", metavar="NAME", help=f"({', '.join(TOY_SUBJECTS)})")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--subject", action="append", default=[], metavar="NAME=PHOTOS[:TEST_PHOTOS]")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--paper-steps", type=int)
    parser.add_argument("--paper-rate", type=float)
    parser.add_argument("--direct-steps", type=int)
    parser.add_argument("--direct-rate", type=float)
    parser.add_argument("--direct-batch", type=int)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if (args.model is None) != (not args.subject):
        parser.error("--model and --subject belong together; without both, the toy world is used")
    return args


def _toy(model: DiffusersModel, names: Sequence[str] | None) -> Iterable[Subject]:
    for name in names or TOY_SUBJECTS:
        phrase, fidelity = toy_subjects.phrase(name), toy_subjects.fidelity(model, name)
        yield Subject(name, phrase, toy_subjects.photos(name), toy_subjects.unseen(name), fidelity)


def _given(entries: Sequence[str]) -> Iterable[Subject]:
    for entry in entries:
        name, _, folders = entry.partition("=")
        photos, _, tests = folders.partition(":")
        yield Subject(name, name, load_photos(Path(photos)), load_photos(Path(tests or photos)))


def _recipes(args: argparse.Namespace, phrase: str, seed: int) -> dict[str, TrainingConfig]:
    """What is compared, by name; the direct recipe is the last."""
    paper = {"paper": _given_values(args, "paper")}
    if args.model is None:
        paper["paper, tuned"] = TOY_PAPER
    direct = _given_values(args, "direct")
    return {
        **{name: default_config("paper", phrase, seed=seed, **values) for name, values in paper.items()},
        DIRECT: default_config("direct", phrase, seed=seed, checkpoint_every=0, **direct),
    }


def _given_values(args: argparse.Namespace, method: str) -> dict[str, Any]:
    flags = {"steps": "steps", "rate": "learning_rate", "batch": "batch_size"}
    values = {field: getattr(args, f"{method}_{flag}", None) for flag, field in flags.items()}
    return {field: value for field, value in values.items() if value is not None}


def _run(model: DiffusersModel, config: TrainingConfig, subject: Subject, resolution: int | None) -> Run:
    seen = training_model(model, config.method)
    views = ViewSettings(resolution or model.default_size, multiple=seen.size_multiple, crops=1)
    method = make_method(seen, config)
    latents = encode_views(seen, make_views(subject.photos, views))
    error = _error_judge(model, method, encode_views(seen, make_views(subject.unseen, views)))
    batches = LatentBatches(latents, config, len(method.captions), model.noise.train_steps, model.device)
    start = error(torch.zeros_like(method.residual()))
    trainer = Trainer(method, batches, config, batches.held_out())
    judged, times = _timed(trainer, config, error, subject.fidelity)
    return Run(statistics.median(times), _peak(model, config, latents), start, judged)


def _error_judge(
    model: DiffusersModel, method: ResidualMethod, unseen: Sequence[LatentView]
) -> Callable[[Tensor], float]:
    config = default_config("direct", method.config.subject, held_out=JUDGED_PAIRS, batch_size=16)
    pairs = LatentBatches(unseen, config, len(method.captions), model.noise.train_steps, model.device).held_out()

    @torch.no_grad()
    def judge(residual: Tensor) -> float:
        errors = [
            share * denoising_error(method.model, batch, method.with_residual(residual, batch.captions))[0]
            for share, batch in pairs
        ]
        return float(torch.stack(errors).sum())

    return judge


def _timed(
    trainer: Trainer,
    config: TrainingConfig,
    error: Callable[[Tensor], float],
    fidelity: Callable[[Tensor], float] | None,
) -> tuple[list[Judgement], list[float]]:
    stops = {max(1, round(share * config.steps)) for share in JUDGED_AT}
    judged: list[Judgement] = []
    times: list[float] = []
    clock = time.process_time()

    def judge(residual: Tensor) -> None:
        judged.append(Judgement(sum(times), error(residual), None if fidelity is None else fidelity(residual)))

    def on_step(record: Any) -> None:
        nonlocal clock
        times.append(time.process_time() - clock)
        if int(record["step"]) in stops:
            judge(trainer.method.residual())
        clock = time.process_time()

    judge(trainer.run(on_step).residual)
    return judged, times


def _peak(model: DiffusersModel, config: TrainingConfig, latents: Sequence[LatentView]) -> int:
    """Bytes of the weights a step needs, and of all tensors alive during the second of two updates."""
    seen = training_model(model, config.method)
    short = default_config(config.method, config.subject, steps=2, held_out=0, batch_size=config.batch_size)
    with LiveBytes() as live:
        method = make_method(seen, short)
        Trainer(method, LatentBatches(latents, short, 27, model.noise.train_steps, model.device), short).run()
    weights = [*model.unet.parameters(), *seen.text_weights.values()]
    return live.peak + sum(weight.numel() * weight.element_size() for weight in weights)


def _print_run(subject: str, seed: int, recipe: str, run: Run) -> None:
    end = run.end
    print(
        f"| {subject} | {seed} | {recipe} | {run.step_seconds:.3f} | {run.peak / 2**20:.0f} | {end.seconds:.1f} "
        f"| {run.start:.5f} → {end.error:.5f} | {'–' if end.fidelity is None else f'{end.fidelity:.2f}'} |",
        flush=True,
    )


def _print_summary(trained: Sequence[dict[str, Run]]) -> None:
    reaching: dict[str, Callable[[Run, Judgement], float]] = {
        "error": Run.reaches_error,
        "fidelity": Run.reaches_fidelity,
    }
    for recipe in (name for name in trained[0] if name != DIRECT):
        for score, reach in reaching.items():
            ends = [(runs[recipe].end, runs[DIRECT]) for runs in trained]
            shares = [reach(direct, end) / end.seconds for end, direct in ends]
            reached = sum(map(math.isfinite, shares))
            print(
                f"\ndirect reaches the final {score} of ({recipe}) for good in {reached} of {len(shares)} runs", end=""
            )
            middle = statistics.median(shares)
            print(f", after {middle:.3f} of its time (median of all runs)" if math.isfinite(middle) else "", end="")
        ratio = statistics.median(runs[DIRECT].peak / runs[recipe].peak for runs in trained)
        print(f"\npeak memory direct / ({recipe}): {ratio:.2f} (median)")


if __name__ == "__main__":
    main()
