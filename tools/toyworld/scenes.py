"""How a model does in scenes with random boxes: a check of one training, `python -m tools.toyworld.scenes`."""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from cones2.assets import TOYWORLD
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.toyworld.captions import PLACE, joined, wordless_rows
from cones2.evaluation.toyworld.detector import Detector, Found, detect, load_detector
from cones2.evaluation.toyworld.places import random_squares
from cones2.evaluation.toyworld.sampling import BoxTable, Recipe, sample
from cones2.evaluation.toyworld.world import CLASSES, SIZE, SUBJECTS, WORDLESS_SUBJECTS, Look
from cones2.layout.regions import Box

from .evaluate import contact_sheet, inside

# Sides of the boxes in pixels, by the number of objects.
BOX_SIDES = {1: (15.0, 42.0), 2: (25.0, 31.0), 3: (21.0, 27.0), 4: (19.0, 25.0), 5: (17.0, 21.0), 6: (15.0, 19.0)}
OF_CLASS = {look.kind: look for look in SUBJECTS.values()}


@dataclass(frozen=True)
class Case:
    """A prompt's background and seed, and its objects: class → box."""

    background: str
    seed: int
    boxes: BoxTable

    def text(self, described: Mapping[str, Look] | None = None) -> str:
        """The prompt; classes in `described` have their look in words, the others are class words."""
        looks = described or {}
        nouns = [words_for(looks[kind]) if kind in looks else kind for kind in self.boxes]
        return f"a photo of {joined([f'a {noun}' for noun in nouns])} {PLACE[self.background]}"


def words_for(look: Look) -> str:
    """A look in words, as far as words go: "white striped red mug"."""
    return f"{look.stripes} striped {look.color} {look.kind}" if look.stripes else f"{look.color} {look.kind}"


def random_cases(count: int, objects: int, name: str, kind: str | None = None) -> list[Case]:
    """Cases that a name decides: classes (the first one may be given), boxes anywhere, background, seed."""
    rng = random.Random(f"{name} {objects}")
    cases = []
    for _ in range(count):
        kinds = rng.sample([k for k in CLASSES if k != kind], objects)
        if kind is not None:
            kinds[0] = kind
        sides = sorted((rng.uniform(*BOX_SIDES[objects]) for _ in kinds), reverse=True)
        squares = random_squares(rng, sides)
        rng.shuffle(squares)
        boxes = {
            k: Box((x - s / 2) / SIZE, (y - s / 2) / SIZE, s / SIZE, s / SIZE)
            for k, (x, y, s) in zip(kinds, squares, strict=True)
        }
        cases.append(Case(rng.choice(list(PLACE)), rng.randrange(2**31), boxes))
    return cases


def wilson(hits: int, total: int, z: float = 1.96) -> list[float]:
    """A share with its 95 % interval."""
    share, z2 = hits / total, z * z / total
    middle = (share + z2 / 2) / (1 + z2)
    half = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return [round(v, 3) for v in (share, middle - half, middle + half)]


def seen_in(
    model: DiffusersModel, judge: Detector, cases: list[Case], recipe: Recipe, look: Look | None = None
) -> tuple[torch.Tensor, list[dict[str, Found]]]:
    """Pictures of the cases with their layouts, and what the judge finds in each.

    look: of one class; then all classes are described, and what words cannot say is added to its rows.
    """
    described = OF_CLASS | {look.kind: look} if look else {}
    added = wordless_rows(look, model.width) if look else None
    residuals = {look.kind: added} if look and added is not None and added.any() else None
    made = [sample(model, c.text(described), [c.seed], recipe, residuals, c.boxes) for c in cases]
    pictures = torch.cat(made)
    return pictures, detect(judge, pictures)


def placement(cases: list[Case], found: list[dict[str, Found]]) -> dict[str, object]:
    """In how many pictures every object is in its box."""
    hits = [[inside(f.get(kind), box) for kind, box in c.boxes.items()] for c, f in zip(cases, found, strict=True)]
    extra = sum(len(set(f) - set(c.boxes)) for c, f in zip(cases, found, strict=True))
    flat = [hit for row in hits for hit in row]
    return {
        "n": len(cases),
        "each": wilson(sum(flat), len(flat)),
        "all": wilson(sum(map(all, hits)), len(hits)),
        "unnamed_per_picture": round(extra / len(cases), 3),
    }


def fidelity(cases: list[Case], found: list[dict[str, Found]], look: Look) -> dict[str, object]:
    """How often the class has this look: all its colors, and exactly; and is in its box."""
    seen = [f[look.kind].look for f in found if look.kind in f]
    placed = sum(inside(f.get(look.kind), c.boxes[look.kind]) for c, f in zip(cases, found, strict=True))
    return {
        "n": len(cases),
        "in_place": wilson(placed, len(cases)),
        "colors": wilson(sum(s.colors == look.colors for s in seen), len(cases)),
        "exact": wilson(sum(s == look for s in seen), len(cases)),
    }


def main() -> None:
    """Write one JSON line per measurement; finished ones are skipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=TOYWORLD, help="folder with the model (default: shipped)")
    parser.add_argument("--judge", type=Path, default=TOYWORLD / "detector.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder for scenes.jsonl and contact sheets")
    parser.add_argument("--name", default="scenes", help="decides cases and seeds")
    parser.add_argument("--count", type=int, default=100, help="pictures per measurement")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--recurrence", action="store_true")
    parser.add_argument("--only", nargs="*", help="numbers of objects, subjects to describe")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "scenes.jsonl"
    done = {json.loads(line)["what"] for line in log.read_text().splitlines()} if log.exists() else set()
    model, judge = load_model(options.model), load_detector(options.judge)
    recipe = Recipe(steps=options.steps, recurrence=options.recurrence)
    subjects = SUBJECTS | WORDLESS_SUBJECTS
    for what in options.only or [*map(str, (2, 3, 4, 6, 1)), *subjects]:
        if what in done:
            continue
        look = None if what.isdigit() else subjects[what]
        cases = random_cases(
            options.count, 2 if look else int(what), f"{options.name} {what}", look.kind if look else None
        )
        pictures, found = seen_in(model, judge, cases, recipe, look)
        row = {"what": what, **(fidelity(cases, found, look) if look else placement(cases, found))}
        contact_sheet(pictures[:64]).save(options.out / f"{what}.png")
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
