"""Which part of the training recipe does what: all toy subjects, trained in several ways, drawn in scenes and judged.

    python benchmarks/recipes.py train OUT [--arms ARM …] [--seeds 0 1 2] [--subjects NAME …]
    python benchmarks/recipes.py evaluate OUT [--arms ARM …] [--seeds 0 1 2] [--n 72] [--counts 2 3 6]

`train` writes OUT/residuals/ARM_SEED/NAME.safetensors; `evaluate` draws what is there with the layout on, the same
scenes for all arms, and prints the tables of docs/training.md. Both go on where they were stopped; several processes
may share the work by arms or seeds. Scenes of two or three subjects have none that recipes were chosen with.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cones2.assets import TOYWORLD
from cones2.concepts.residual import make_residual
from cones2.concepts.residual_file import load_residual, save_residual
from cones2.diffusers_models.for_training import training_model
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.arms import NAMED
from cones2.evaluation.cases import Case, Suite
from cones2.evaluation.results import Result, Results
from cones2.evaluation.runner import jobs, run
from cones2.evaluation.scores import difference, scores
from cones2.evaluation.toyworld.bench import open_bench
from cones2.evaluation.toyworld.suites import described, toy_suite
from cones2.evaluation.toyworld.world import SUBJECTS
from cones2.training.class_pictures import remove_pictures
from cones2.training.config import recipe_config
from cones2.training.methods import DirectMethod, make_method
from cones2.training.run_files import RunFiles
from cones2.training.session import prepare_run, result_residual
from cones2.training.views import ViewSettings, load_photos

CHOSEN_WITH = ("purple_yellow_mug", "purple_white_star")
HALF = "dog, mug, ball, flower"


@dataclass(frozen=True)
class Way:
    """One way to train.

    recipe, changes: its numbers. told: whether it gets the subject's description. trains: or is the description all.
    """

    recipe: str
    told: bool = False
    trains: bool = True
    changes: dict[str, Any] = field(default_factory=dict)


WAYS = {
    "photos": Way("photos"),
    "term": Way("scenes", changes={"scenes": 0}),
    "scenes": Way("scenes"),
    "words": Way("photos", told=True),
    "all": Way("scenes", told=True),
    "basis": Way("scenes", changes={"basis": 16}),
    "description": Way("photos", told=True, trains=False),
    "half": Way("scenes", changes={"partners": HALF}),
}
PROMPTS = {"word": "layout", "told": "description"}
"""Arms without residuals: the plain prompt, and the one that describes the subjects."""


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    if args.action == "train":
        train(args.out, args.arms, args.seeds, args.subjects)
    else:
        evaluate(args.out, args.arms, args.seeds, args.n, args.counts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "evaluate"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=(*WAYS, *PROMPTS), default=[*WAYS, *PROMPTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--subjects", nargs="+", choices=tuple(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--n", type=int, default=72, help="scenes per training seed and number of subjects")
    parser.add_argument("--counts", nargs="+", type=int, default=[2], help="subjects per scene")
    return parser.parse_args()


def train(out: Path, arms: Sequence[str], seeds: Sequence[int], subjects: Sequence[str]) -> None:
    """Train what is missing; seconds of the processor are in OUT/seconds.jsonl."""
    model = load_model(TOYWORLD, device="cpu")
    for seed in seeds:
        for arm in (arm for arm in arms if arm in WAYS):
            for name in subjects:
                files = RunFiles(_folder(out, arm, seed), name)
                if not files.residual.exists():
                    files.folder.mkdir(parents=True, exist_ok=True)
                    _train_one(model, WAYS[arm], files, seed, out / "seconds.jsonl", arm)


def _train_one(model: DiffusersModel, way: Way, files: RunFiles, seed: int, log: Path, arm: str) -> None:
    name, started = files.name, time.process_time()
    seen = training_model(model, "direct")
    changes = {**way.changes, **({"description": described(name)} if way.told else {})}
    config = recipe_config(way.recipe, SUBJECTS[name].kind, seed=seed, **changes)
    if not way.trains:
        method = make_method(seen, config)
        vectors = method.described_start() if isinstance(method, DirectMethod) else None
        assert vectors is not None
        save_residual(make_residual(config.subject, vectors), files.residual)
        return
    photos = load_photos(TOYWORLD / "subjects" / name, TOYWORLD / "masks" / name)
    views = ViewSettings(model.default_size, multiple=seen.size_multiple, crops=1)
    trainer = prepare_run(seen, photos, views, config, files.checkpoint, pictures=files.class_pictures)
    prepared = time.process_time()
    result = trainer.run()
    finished = time.process_time()
    save_residual(result_residual(trainer, result, photos, "toyworld"), files.residual)
    files.checkpoint.unlink(missing_ok=True)
    remove_pictures(files.class_pictures)
    spent = {"prepare": prepared - started, "train": finished - prepared, "compare": time.process_time() - finished}
    line = {"arm": arm, "seed": seed, "subject": name, "steps": result.steps, **spent}
    with log.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def evaluate(out: Path, arms: Sequence[str], seeds: Sequence[int], n: int, counts: Sequence[int]) -> None:
    """Draw and judge what is missing, and print the tables."""
    for count in counts:
        found: dict[str, list[Result]] = {}
        for arm in arms:
            for seed in seeds:
                found.setdefault(arm, []).extend(_drawn(out, arm, seed, _suite(count, n, seed)))
        print("\n".join(_table({arm: results for arm, results in found.items() if results}, count)), flush=True)
    print("\n".join(_costs(out)))
    print("\n".join(_attention(out, arms, seeds)))


def _suite(count: int, n: int, seed: int) -> Suite:
    """Scenes of which, with two subjects, none has one that recipes were chosen with; with more that is impossible."""
    cases = [case for case in toy_suite(count, "boxes", 8 * n, 1000 + seed).cases if count > 3 or _is_unseen(case)]
    return Suite(f"{count}_boxes", tuple(cases[:n]))


def _is_unseen(case: Case) -> bool:
    return not {subject.name for subject in case.subjects} & set(CHOSEN_WITH)


def _drawn(out: Path, arm: str, seed: int, suite: Suite) -> list[Result]:
    """The judged pictures of an arm and seed, drawn where they are missing; none where a residual is."""
    folder, names = _folder(out, arm, seed), {one.name for case in suite.cases for one in case.subjects}
    if arm in WAYS and any(not (folder / f"{name}.safetensors").exists() for name in names):
        return []
    way = NAMED[PROMPTS.get(arm, "both")]
    results = Results(out / "pictures" / f"{arm}_{seed}")
    todo = jobs([replace(way, name=arm)], [suite])
    if any(key not in results for job in todo for key in job.keys):
        run(open_bench(folder if arm in WAYS else None), todo, results)
    return results.of(suite.name, arm)


def _table(found: dict[str, list[Result]], count: int) -> Iterator[str]:
    yield f"\n{count} subjects\n"
    yield "| residuals | n | all there | all in place | own look | all right and in place | against photos |"
    yield "|---|---|---|---|---|---|---|"
    base = found.get("photos", [])
    for arm, results in found.items():
        s = scores([result.verdict for result in results])
        gain = str(_gain(base, results)) if len(base) == len(results) and arm != "photos" else "–"
        yield f"| {arm} | {s.pictures} | {s.all_there} | {s.all_in_place} | {s.own} | {s.all_right} | {gain} |"
    if count == 2 and {"scenes", "half"} <= found.keys():
        yield from _partners(found)


def _gain(before: Sequence[Result], after: Sequence[Result]) -> Any:
    return difference(*([float(result.verdict.all_right) for result in results] for results in (before, after)))


def _partners(found: dict[str, list[Result]]) -> Iterator[str]:
    """Pairs whose partners the residuals of "half" have met in training, and pairs of strangers."""
    met = {part.strip() for part in HALF.split(",")}
    yield "\n| residuals | partners | n | all right and in place |\n|---|---|---|---|"
    for arm in ("scenes", "half"):
        for title, wanted in (("met by half", True), ("strangers to half", False)):
            chosen = [
                result.verdict
                for result in found[arm]
                if all((one.word in met) == wanted for one in result.verdict.subjects)
            ]
            yield f"| {arm} | {title} | {len(chosen)} | {scores(chosen).all_right if chosen else '–'} |"


def _costs(out: Path) -> Iterator[str]:
    yield "\n| recipe | runs | updates | s before the first update | s of the updates | s in all |"
    yield "|---|---|---|---|---|---|"
    path = out / "seconds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for arm in dict.fromkeys(line["arm"] for line in lines):
        runs = [line for line in lines if line["arm"] == arm]
        mean = {key: sum(line[key] for line in runs) / len(runs) for key in ("steps", "prepare", "train", "compare")}
        cells = (mean["prepare"], mean["train"], mean["prepare"] + mean["train"] + mean["compare"])
        shown = " | ".join(f"{cell:.1f}" for cell in cells)
        yield f"| {arm} | {len(runs)} | {mean['steps']:.0f} | {shown} |"


def _attention(out: Path, arms: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """What the files say of the word's attention on other things, where they were validated on scenes."""
    yield "\n| recipe | error: word | description | residual | attention elsewhere: word | residual |"
    yield "|---|---|---|---|---|---|"
    errors = [f"scenes_error_{name}" for name in ("word", "description", "residual")]
    keys = [*errors, "attention_elsewhere_word", "attention_elsewhere_residual"]
    for arm in arms:
        paths = [path for seed in seeds for path in sorted(_folder(out, arm, seed).glob("*.safetensors"))]
        facts = [load_residual(path).metadata for path in paths]
        facts = [one for one in facts if keys[0] in one]
        if facts:
            values = [[float(one[key]) for one in facts if key in one] for key in keys]
            shown = " | ".join(f"{sum(part) / len(part):.3f}" if part else "–" for part in values)
            yield f"| {arm} | {shown} |"


def _folder(out: Path, arm: str, seed: int) -> Path:
    return out / "residuals" / f"{arm}_{seed}"


if __name__ == "__main__":
    main()
