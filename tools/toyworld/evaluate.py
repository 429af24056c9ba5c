"""Every figure of the model card, measured by the detector: `python -m tools.toyworld.evaluate`."""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from cones2.assets import TOYWORLD
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.toyworld.captions import PLACE, joined
from cones2.evaluation.toyworld.detector import Detector, Found, detect, load_detector
from cones2.evaluation.toyworld.sampling import BoxTable, Recipe, sample
from cones2.evaluation.toyworld.world import CLASSES, SUBJECTS, random_scene, render
from cones2.layout.regions import Box

from .softness import through

SEEDS_PER_PROMPT = 4
HALVES = (Box(0.04, 0.15, 0.44, 0.7), Box(0.52, 0.15, 0.44, 0.7))
THIRDS = (Box(0.03, 0.04, 0.45, 0.45), Box(0.52, 0.04, 0.45, 0.45), Box(0.27, 0.51, 0.45, 0.45))
PAIRS = (("mug", "house"), ("mug", "ball"), ("star", "tree"), ("dog", "fish"), ("flower", "ball"), ("dog", "house"))
TRIPLES = (("mug", "house", "dog"), ("star", "ball", "fish"), ("flower", "tree", "mug"))
Subjects = dict[str, torch.Tensor]  # word → residual [d]
Measurement = Callable[[], Mapping[str, Any]]


@dataclass
class Bench:
    """What measurements share. `sheets` is where contact sheets go, if anywhere."""

    model: DiffusersModel
    detector: Detector
    recipe: Recipe = field(default_factory=Recipe)
    sheets: Path | None = None
    residuals: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def seen(self, text: str, seeds: range, **options: Any) -> tuple[torch.Tensor, list[dict[str, Found]]]:
        """Pictures of one prompt and what the detector sees in each."""
        pictures = sample(self.model, text, seeds, self.recipe, **options)
        return pictures, detect(self.detector, pictures)

    def keep(self, name: str, pictures: list[torch.Tensor]) -> None:
        """Write a contact sheet of the first 64 pictures."""
        if self.sheets is not None:
            self.sheets.mkdir(parents=True, exist_ok=True)
            contact_sheet(torch.cat(pictures)[:64]).save(self.sheets / f"{name}.png")


def contact_sheet(pictures: torch.Tensor, columns: int = 8, gap: int = 2) -> Image.Image:
    """Pictures [N, 3, h, w] in [0, 1] side by side on white."""
    pixels = (pictures.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    height, width = pixels.shape[1] + gap, pixels.shape[2] + gap
    rows = math.ceil(len(pixels) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, picture in enumerate(pixels):
        sheet.paste(Image.fromarray(picture), (index % columns * width, index // columns * height))
    return sheet


def prompt_of(kinds: list[str] | tuple[str, ...], background: str) -> str:
    """ "a photo of a mug, a dog and a star in the snow"."""
    return f"a photo of {joined([f'a {kind}' for kind in kinds])} {PLACE[background]}"


def random_prompts(count: int, objects: int, seed: int) -> list[tuple[list[str], str]]:
    """Classes and background of `count` prompts."""
    rng = random.Random(seed)
    return [(rng.sample(CLASSES, objects), rng.choice(list(PLACE))) for _ in range(count)]


def detector_accuracy(bench: Bench, count: int = 512, seed: int = 4711) -> dict[str, float]:
    """The judge on fresh renderings, clean and after the autoencoder."""
    rng = random.Random(seed)
    result: dict[str, float] = {}
    scenes = [random_scene(rng) for _ in range(count)]
    clean, _ = render(scenes)
    for name, pictures in (("clean", clean), ("decoded", through(bench.model.vae, clean))):
        found = detect(bench.detector, pictures)
        objects = [(t.look, f.get(t.look.kind)) for s, f in zip(scenes, found, strict=True) for t in s.things]
        hits = [(look, seen.look) for look, seen in objects if seen]
        extra = sum(len(set(f) - {t.look.kind for t in s.things}) for s, f in zip(scenes, found, strict=True))
        result[f"{name}_objects"] = len(objects)
        result[f"{name}_found"] = len(hits) / len(objects)
        result[f"{name}_look_right"] = sum(a == b for a, b in hits) / len(objects)
        result[f"{name}_false_per_picture"] = extra / count
    return result


def presence(bench: Bench, objects: int, count: int = 208, seed: int = 1000) -> dict[str, float]:
    """How often named classes are there, without any guidance."""
    each = every = extra = 0
    pictures = []
    for index, (kinds, background) in enumerate(random_prompts(count // SEEDS_PER_PROMPT, objects, seed + objects)):
        first = seed * 100 + index * SEEDS_PER_PROMPT
        made, found = bench.seen(prompt_of(kinds, background), range(first, first + SEEDS_PER_PROMPT))
        pictures.append(made)
        each += sum(kind in f for f in found for kind in kinds)
        every += sum(set(kinds) <= set(f) for f in found)
        extra += sum(len(set(f) - set(kinds)) for f in found)
    bench.keep(f"presence_{objects}", pictures)
    return {"n": count, "each": each / count / objects, "all": every / count, "extra_per_picture": extra / count}


def removal(bench: Bench, count: int = 208, seed: int = 2000) -> dict[str, float]:
    """Two objects; then the same prompt and seeds with the second noun taken out."""
    named = unnamed = first_stays = 0
    pictures = []
    for index, (kinds, background) in enumerate(random_prompts(count // SEEDS_PER_PROMPT, 2, seed)):
        text = prompt_of(kinds, background)
        start = seed * 100 + index * SEEDS_PER_PROMPT
        seeds = range(start, start + SEEDS_PER_PROMPT)
        _, with_noun = bench.seen(text, seeds)
        made, without = bench.seen(text.replace(f" {kinds[1]}", ""), seeds)
        pictures.append(made)
        named += sum(kinds[1] in f for f in with_noun)
        unnamed += sum(kinds[1] in f for f in without)
        first_stays += sum(kinds[0] in f for f in without)
    bench.keep("removal", pictures)
    return {"n": count, "named": named / count, "noun_removed": unnamed / count, "other_object": first_stays / count}


def inside(found: Found | None, box: Box) -> bool:
    """Whether an object's center lies in the box."""
    return found is not None and (box.x <= found.x < box.x + box.width and box.y <= found.y < box.y + box.height)


def overlap(found: Found | None, box: Box) -> float:
    """Intersection over union of the object's cells and the box."""
    if found is None:
        return 0.0
    size = found.cells.shape[0]
    filled = torch.zeros_like(found.cells)
    top, bottom = round(box.y * size), round((box.y + box.height) * size)
    left, right = round(box.x * size), round((box.x + box.width) * size)
    filled[top:bottom, left:right] = True
    return int((filled & found.cells).sum()) / int((filled | found.cells).sum())


def layout_score(
    bench: Bench, name: str, boxes: BoxTable, guided: bool, count: int, seed: int, **options: Any
) -> dict[str, float]:
    """How often the objects sit in their boxes, guided or not."""
    each = every = present = 0
    area = 0.0
    pictures = []
    places = list(PLACE)
    for index in range(count // SEEDS_PER_PROMPT):
        text = prompt_of(tuple(boxes), places[index % len(places)])
        start = seed * 100 + index * SEEDS_PER_PROMPT
        seeds = range(start, start + SEEDS_PER_PROMPT)
        made, found = bench.seen(text, seeds, boxes=boxes if guided else None, **options)
        pictures.append(made)
        hits = [[inside(f.get(word), box) for word, box in boxes.items()] for f in found]
        each += sum(sum(h) for h in hits)
        every += sum(all(h) for h in hits)
        present += sum(set(boxes) <= set(f) for f in found)
        area += sum(overlap(f.get(word), box) for f in found for word, box in boxes.items())
    bench.keep(f"layout_{name}", pictures)
    total = count * len(boxes)
    return {"n": count, "each": each / total, "all": every / count, "iou": area / total, "present": present / count}


def layout(bench: Bench, words: tuple[str, ...], count: int, seed: int = 3000) -> dict[str, dict[str, float]]:
    """Off, on, and with the boxes exchanged, on the same prompts and seeds."""
    places = HALVES if len(words) == 2 else THIRDS
    boxes = dict(zip(words, places, strict=True))
    # the same prompt (word order) with the boxes moved on by one
    moved = dict(zip(words, (*places[1:], places[0]), strict=True))
    name = "_".join(words)
    return {
        "off": layout_score(bench, f"{name}_off", boxes, False, count, seed),
        "on": layout_score(bench, f"{name}_on", boxes, True, count, seed),
        "swapped": layout_score(bench, f"{name}_swapped", moved, True, count, seed),
    }


def fidelity(bench: Bench, count: int = 48, seed: int = 5000) -> dict[str, dict[str, float]]:
    """Share of pictures with a subject's exact look: class word alone, described, with residual."""
    result = {}
    for subject, look in SUBJECTS.items():
        described = f"{look.stripes} striped {look.color} {look.kind}"
        residual = {look.kind: bench.residuals[subject]} if subject in bench.residuals else None
        arms: dict[str, tuple[str, Subjects | None]] = {"class_word": (look.kind, None), "described": (described, None)}
        if residual:
            arms["residual"] = (look.kind, residual)
        row = {"n": float(count)}
        for arm, (phrase, added) in arms.items():
            row |= _fidelity_arm(bench, subject, arm, phrase, added, count, seed)
        result[subject] = row
    return result


def _fidelity_arm(
    bench: Bench, subject: str, arm: str, phrase: str, residuals: Subjects | None, count: int, seed: int
) -> dict[str, float]:
    look, pictures, exact, colors = SUBJECTS[subject], [], 0, 0
    places = list(PLACE)
    for index in range(count // SEEDS_PER_PROMPT):
        text = f"a photo of a {phrase} {PLACE[places[index % len(places)]]}"
        start = seed * 100 + index * SEEDS_PER_PROMPT
        made, found = bench.seen(text, range(start, start + SEEDS_PER_PROMPT), residuals=residuals)
        pictures.append(made)
        looks = [f[look.kind].look for f in found if look.kind in f]
        exact += sum(seen == look for seen in looks)
        colors += sum(seen.colors == look.colors for seen in looks)
    bench.keep(f"fidelity_{subject}_{arm}", pictures)
    return {f"{arm}_exact": exact / count, f"{arm}_both_colors": colors / count}


def open_bench(assets: Path = TOYWORLD, sheets: Path | None = None) -> Bench:
    """The shipped model, judge and residuals."""
    residuals = {p.stem: load_file(p)["residual"][0] for p in sorted((assets / "residuals").glob("*.safetensors"))}
    detector = load_detector(assets / "detector.safetensors")
    return Bench(load_model(assets), detector, sheets=sheets, residuals=residuals)


def measurements(bench: Bench, count: int, pair_count: int, subject_count: int) -> dict[str, Measurement]:
    """All measurements by name."""
    table: dict[str, Measurement] = {
        "detector": lambda: detector_accuracy(bench),
        "presence_1": lambda: presence(bench, 1, count),
        "presence_2": lambda: presence(bench, 2, count),
        "presence_3": lambda: presence(bench, 3, count),
        "removal": lambda: removal(bench, count),
        "fidelity": lambda: fidelity(bench, subject_count),
    }
    for words in (*PAIRS, *TRIPLES):
        table["layout_" + "_".join(words)] = partial(layout, bench, words, pair_count)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, default=TOYWORLD, help="folder with the model (default: shipped)")
    parser.add_argument("--out", type=Path, default=TOYWORLD / "scores.json", help="JSON file; finished rows are kept")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--only", nargs="*", help="names of measurements (default: all)")
    parser.add_argument("--count", type=int, default=208, help="pictures per presence figure, a multiple of 4")
    parser.add_argument("--pair-count", type=int, default=72, help="pictures per layout figure, a multiple of 4")
    parser.add_argument("--subject-count", type=int, default=48, help="pictures per subject and arm, a multiple of 4")
    options = parser.parse_args()
    bench = open_bench(options.assets, options.sheets)
    scores = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name, measure in measurements(bench, options.count, options.pair_count, options.subject_count).items():
        if name in scores or (options.only and name not in options.only):
            continue
        scores[name] = measure()
        part = options.out.with_suffix(".part")
        part.write_text(json.dumps(scores, indent=1) + "\n")
        part.rename(options.out)
        print(name, json.dumps(scores[name]), flush=True)


if __name__ == "__main__":
    main()
