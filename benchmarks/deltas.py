"""Custom Diffusion on the toy world: trained, alone and in scenes of two, beside residuals, with and without layouts.

    python benchmarks/deltas.py train OUT [--seeds 0 1] [--sets one two twins]
    python benchmarks/deltas.py evaluate OUT [--seeds 0 1] [--sets one two twins]
    python benchmarks/deltas.py tables OUT [--seeds 0 1]

`train` writes OUT/deltas/SEED/NAME.safetensors: each subject alone, and each pair together. `evaluate` draws and judges
the scenes of `SETS`, all arms the same ones. `tables` prints what is there, as in docs/custom-diffusion.md. The first
two go on where they were stopped. Learning rate and steps were chosen on the mug, which is in none of the scenes.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cones2.assets import TOYWORLD
from cones2.concepts.residual import Residual
from cones2.concepts.residual_file import load_residual
from cones2.custom_diffusion.base import attention_weights
from cones2.custom_diffusion.delta import Delta, ModifierToken, renamed_apart
from cones2.custom_diffusion.files import load_delta, save_delta
from cones2.custom_diffusion.merge import TextRows, merge
from cones2.custom_diffusion.regional import own_projections
from cones2.diffusers_models.deltas import DeltaUse, text_rows, with_deltas, with_tokens
from cones2.diffusers_models.for_delta_training import delta_training_model, start_rows
from cones2.diffusers_models.latent_model import DiffusersModel, to_images
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.cases import Case, Subject, places
from cones2.evaluation.results import Key, Result, Results
from cones2.evaluation.scores import Seen, Verdict, scores
from cones2.evaluation.toyworld.captions import PLACE, caption
from cones2.evaluation.toyworld.detector import Detector, load_detector, looks_within
from cones2.evaluation.toyworld.judging import verdicts
from cones2.evaluation.toyworld.sampling import Recipe, sample
from cones2.evaluation.toyworld.world import BACKGROUNDS, CUSTOM, SIZE, Look, random_scene
from cones2.guidance.regional import RegionalProjections
from cones2.layout.regions import Layout, layout_from_masks
from cones2.presets import PRESETS
from cones2.prompt.claims import PhraseRef
from cones2.sampling.settings import SamplingSettings
from cones2.scene import Scene, compose
from cones2.training.concepts import ClassPhoto, TrainingConcept
from cones2.training.config import delta_config
from cones2.training.delta_session import prepare_delta_run
from cones2.training.views import Photo, load_photos

RATE, STEPS = 5e-4, 100  # a pair learns twice as many steps
CLASS_PICTURES = 24
PAIRS = (("blue_white_dog", "white_red_house"), ("green_purple_ball", "red_yellow_fish"))
TWINS = (("blue_white_dog", "dog_with_badge"),)
SINGLES = tuple((name,) for name in dict.fromkeys(chain(*PAIRS)))
PRESET = PRESETS["recommended"]
SAMPLING_STEPS, CFG = 12, 4.0

Names = tuple[str, ...]
Looks = Literal["words", "joint", "merged", "summed", "region"]


@dataclass(frozen=True)
class Arm:
    """One way to draw.

    looks: how deltas are in the model. residuals: whether those of the subjects are used. layout: whether it guides.
    named: whether the prompt has the tokens of the deltas, or the class words alone.
    """

    looks: Looks
    residuals: bool = False
    layout: bool = True
    named: bool = True


@dataclass(frozen=True)
class Set:
    """Scenes of the same kind: so many of each group of subjects and training seed, so many pictures of each."""

    groups: tuple[Names, ...]
    scenes: int
    pictures: int
    arms: dict[str, Arm]


_DELTAS = {
    "joint": Arm("joint"),
    "merged": Arm("merged"),
    "summed": Arm("summed"),
    "region-bound": Arm("region"),
}
_FREE = {f"{name}, no layout": replace(arm, layout=False) for name, arm in _DELTAS.items()}
_RESIDUALS = {"residual": Arm("words", residuals=True)}
_BOTH = {"merged + residual": Arm("merged", residuals=True)}
_ONE = {
    "word": Arm("words"),
    "residual": Arm("words", residuals=True),
    "delta": Arm("summed"),
    "both": Arm("summed", residuals=True),
    "word, with the delta in the model": Arm("summed", named=False),
}
SETS = {
    "one": Set(SINGLES, 2, 3, _ONE),
    "two": Set(PAIRS, 3, 4, _RESIDUALS | _DELTAS | _BOTH | _FREE),
    "twins": Set(TWINS, 6, 4, _RESIDUALS | _DELTAS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "evaluate", "tables"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=list(SETS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.action == "train":
        train(args.out, args.seeds, args.sets)
    elif args.action == "evaluate":
        evaluate(args.out, args.seeds, args.sets)
    else:
        print("\n".join(chain(_tables(args.out, args.seeds), _costs(args.out, args.seeds))))


def train(out: Path, seeds: Sequence[int], sets: Sequence[str]) -> None:
    """Train what is missing; seconds of the processor are in OUT/seconds.jsonl."""
    model = load_model(TOYWORLD, device="cpu")
    groups = [names for suite in sets for names in SETS[suite].groups]
    for names in dict.fromkeys([*((name,) for group in groups for name in group), *groups]):
        for seed in seeds:
            path = _path(out, seed, names)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                spent = _train_one(model, names, seed, path)
                line = {"names": names, "seed": seed, "seconds": spent}
                with (out / "seconds.jsonl").open("a") as stream:
                    stream.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)


def _train_one(model: DiffusersModel, names: Names, seed: int, path: Path) -> float:
    tokens = [f"<new{number}>" for number in range(1, len(names) + 1)]
    networks = delta_training_model(model, tokens, start_rows(model.text, tokens), "keys and values")
    concepts = [
        TrainingConcept(
            f"photo of a {token} {CUSTOM[name].kind}",
            CUSTOM[name].kind,
            load_photos(TOYWORLD / "subjects" / name),
            _class_photos(model, CUSTOM[name].kind),
        )
        for token, name in zip(tokens, names, strict=True)
    ]
    config = delta_config(
        CUSTOM[names[0]].kind, tokens="+".join(tokens), steps=STEPS * len(names), learning_rate=RATE, seed=seed
    )
    started = time.process_time()
    run = prepare_delta_run(networks, concepts, config, SIZE, flip=True)
    result = run.trainer.run()
    spent = time.process_time() - started
    save_delta(run.result(result, "toyworld", int(model.unet.config.layers_per_block)), path)
    return spent


@cache
def _class_photos(model: DiffusersModel, kind: str) -> list[ClassPhoto]:
    """Pictures of a class that the model makes, as training itself would make them one by one."""
    with torch.inference_mode():
        pictures = sample(model, kind, range(CLASS_PICTURES), Recipe(steps=SAMPLING_STEPS, recurrence=False))
    images = to_images(pictures.clone() * 2 - 1)
    return [ClassPhoto(Photo(f"{kind} {number}", image), kind) for number, image in enumerate(images)]


def evaluate(out: Path, seeds: Sequence[int], sets: Sequence[str]) -> None:
    """Draw and judge what is missing."""
    model = load_model(TOYWORLD, device="cpu")
    model.unet.to(memory_format=torch.channels_last)
    detector = load_detector(TOYWORLD / "detector.safetensors")
    for suite in sets:
        scenes = SETS[suite]
        for seed in seeds:
            results = Results(out / "results" / str(seed))
            for names in scenes.groups:
                for label, arm in scenes.arms.items():
                    _draw_arm(model, detector, out, seed, suite, names, label, arm, results)


def _draw_arm(
    model: DiffusersModel,
    detector: Detector,
    out: Path,
    seed: int,
    suite: str,
    names: Names,
    label: str,
    arm: Arm,
    results: Results,
) -> None:
    cases = _cases(names, seed, SETS[suite].scenes)
    todo = [case for case in cases if Key(suite, label, f"{case.name} 0") not in results]
    if not todo:
        return
    deltas = [] if arm.looks == "words" else _deltas(model, out, seed, names, arm)
    strength = 0.0 if arm.looks == "region" else 1.0
    changed = with_deltas(model, [DeltaUse(delta, strength) for delta in deltas])
    for case in todo:
        seeds = tuple(case.seed + number for number in range(SETS[suite].pictures))
        pictures = _drawn(changed, _scene(model, changed, names, deltas, arm, case), arm, seeds)
        seen = (
            _twins(detector, pictures, case) if suite == "twins" else verdicts(detector, pictures, [case] * len(seeds))
        )
        results.add(
            [
                Result(Key(suite, label, f"{case.name} {number}"), seeds[number], case.prompt, 0, verdict, "", "")
                for number, verdict in enumerate(seen)
            ]
        )
    print(suite, seed, "+".join(names), label, flush=True)


def _cases(names: Names, seed: int, count: int) -> list[Case]:
    rng = random.Random(f"deltas {' '.join(names)} {seed}")
    cases = []
    for index in range(count):
        background = rng.choice(BACKGROUNDS)
        masks = places("boxes", len(names), rng, SIZE)
        subjects = tuple(Subject(CUSTOM[name].kind, name, "", mask) for name, mask in zip(names, masks, strict=True))
        template = f"a photo of {' and '.join(['a {}'] * len(names))} {PLACE[background]}"
        name = f"{'+'.join(names)} {index}"
        cases.append(
            Case(name, template, "a photo of", PLACE[background], background, subjects, rng.randrange(2**31 - 100))
        )
    return cases


def _deltas(model: DiffusersModel, out: Path, seed: int, names: Names, arm: Arm) -> list[Delta]:
    """What the arm puts into the model, with different tokens."""
    if arm.looks == "joint":
        return [load_delta(_path(out, seed, names))]
    alone = renamed_apart([load_delta(_path(out, seed, (name,))) for name in names])
    if arm.looks != "merged":
        return alone

    def encoder(tokens: Sequence[ModifierToken]) -> TextRows:
        return text_rows(with_tokens(model.text, tokens))

    rng = random.Random("captions of the merge")
    captions = [caption(random_scene(rng), rng) for _ in range(200)]
    return [merge(alone, attention_weights(model.unet.named_parameters()), encoder, captions).delta]


def _scene(
    model: DiffusersModel, changed: DiffusersModel, names: Names, deltas: Sequence[Delta], arm: Arm, case: Case
) -> Scene:
    """The case as the arm has it. model: without any delta."""
    words = [CUSTOM[name].kind for name in names]
    tokens = [token.name for delta in deltas for token in delta.tokens]
    phrases = [f"{token} {word}" for token, word in zip(tokens, words, strict=True)] if tokens and arm.named else words
    twins = len(set(words)) < len(words)
    named = [f"{phrase}#{place}" for place, phrase in enumerate(phrases, 1)] if twins and not tokens else phrases
    layout = layout_from_masks([_mask(subject) for subject in case.subjects], named)
    residuals = [
        _residual(name).with_reference(PhraseRef(word, place if twins else None))
        for place, (name, word) in enumerate(zip(names, words, strict=True), 1)
        if arm.residuals
    ]
    prompt = case.template.format(*phrases)
    scene = compose(changed, prompt, residuals, layout if arm.layout else None, guidance=PRESET.guidance)
    return replace(scene, regional=_regional(model, deltas, layout)) if arm.looks == "region" else scene


def _regional(model: DiffusersModel, deltas: Sequence[Delta], layout: Layout) -> tuple[RegionalProjections, ...]:
    base = attention_weights(model.unet.named_parameters())
    return tuple(
        RegionalProjections(region.mask, own_projections(delta, base))
        for delta, region in zip(deltas, layout.regions, strict=True)
    )


def _residual(name: str) -> Residual:
    return load_residual(TOYWORLD / "residuals" / f"{name}.safetensors", CUSTOM[name].kind)


def _drawn(model: DiffusersModel, scene: Scene, arm: Arm, seeds: tuple[int, ...]) -> Tensor:
    guided = PRESET.guided_steps(SAMPLING_STEPS) if arm.layout else 0
    settings = SamplingSettings(
        SAMPLING_STEPS, guided_steps=guided, cfg=CFG, recurrence=PRESET.recurrence, seeds=seeds, height=SIZE, width=SIZE
    )
    with torch.inference_mode():
        return (model.decode(model.sample(scene, settings)).float() / 2 + 0.5).clamp(0, 1)


def _twins(detector: Detector, pictures: Tensor, case: Case) -> list[Verdict]:
    """The judge takes all of one class for one object: two of a class are judged each inside its own region."""
    found = [looks_within(detector, pictures, subject.word, _mask(subject)) for subject in case.subjects]
    return [Verdict(tuple(map(_seen_inside, case.subjects, looks))) for looks in zip(*found, strict=True)]


def _seen_inside(subject: Subject, look: Look | None) -> Seen:
    if look is None:
        return Seen(subject.word, subject.name)
    own = CUSTOM[subject.name].colors
    return Seen(subject.word, subject.name, True, True, own=look.colors == own, foreign=bool(look.colors - own))


def _mask(subject: Subject) -> Tensor:
    assert isinstance(subject.place, Tensor)
    return subject.place


def _tables(out: Path, seeds: Sequence[int]) -> Iterator[str]:
    for suite, scenes in SETS.items():
        yield f"\n{suite}\n\n| arm | n | in place | own look | in place in its own look | all of a picture |"
        yield "|---|---|---|---|---|---|"
        for label in scenes.arms:
            found = [
                result.verdict for seed in seeds for result in Results(out / "results" / str(seed)).of(suite, label)
            ]
            if found:
                s = scores(found)
                yield f"| {label} | {len(found)} | {s.in_place} | {s.own} | {s.right} | {s.all_right} |"


def _costs(out: Path, seeds: Sequence[int]) -> Iterator[str]:
    yield "\n| trained | runs | bytes | s of the processor |\n|---|---|---|---|"
    path = out / "seconds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for count in (1, 2):
        runs = [line for line in lines if len(line["names"]) == count and line["seed"] in seeds]
        if runs:
            size = sum(_path(out, run["seed"], run["names"]).stat().st_size for run in runs) / len(runs)
            yield f"| {count} | {len(runs)} | {size:.0f} | {sum(run['seconds'] for run in runs) / len(runs):.0f} |"


def _path(out: Path, seed: int, names: Sequence[str]) -> Path:
    return out / "deltas" / str(seed) / f"{'+'.join(names)}.safetensors"


if __name__ == "__main__":
    main()
