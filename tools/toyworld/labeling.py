"""The judge against a reader: pictures to label by hand, and how far the judge agrees with the labels.

`python -m tools.toyworld.labeling pictures --sheets DIR` makes the pictures of `labels/` again (from
the model of that time) and numbered sheets to read; `agree` compares the judge with the labels.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from cones2.assets import TOYWORLD
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.toyworld.detector import Detector, Found, detect, load_detector
from cones2.evaluation.toyworld.sampling import Recipe, sample
from cones2.evaluation.toyworld.world import CLASSES, SIZE, SUBJECTS, Look

from .scenes import OF_CLASS, Case, random_cases, wilson

LABELS = Path(__file__).parent / "labels"
COLUMNS = 16  # of the committed picture of all pictures
# Sets of pictures, and how many each arm has there. The judge's training was changed once after a look at
# the first set's differences; the second set was made and read after that.
EACH = {"first": 20, "second": 6}
# objects, described in words, with residuals, with the layout
ARMS = (
    (1, True, False, True),
    (1, False, True, True),
    (2, True, False, True),
    (2, False, True, True),
    (2, False, True, False),
    (3, True, False, True),
    (3, False, True, True),
    (4, False, False, True),
)
Label = tuple[str, str, str | None]  # class, color of the body, color of the stripes


def _residuals(assets: Path) -> dict[str, torch.Tensor]:
    paths = {look.kind: assets / "residuals" / f"{name}.safetensors" for name, look in SUBJECTS.items()}
    return {kind: load_file(path)["residual"][0] for kind, path in paths.items()}


def shuffled_cases(which: str) -> list[tuple[int, Case]]:
    """What a set's pictures were asked to show, arm and case, in an order that does not tell a reader the arms."""
    name = {"first": "labels", "second": "labels b"}[which]
    cases = [(arm, c) for arm, (n, *_) in enumerate(ARMS) for c in random_cases(EACH[which], n, f"{name} {arm}")]
    random.Random(name).shuffle(cases)
    return cases


def labels_of(which: str) -> list[list[Label]]:
    """What the reader saw in each picture of a set."""
    return [[(kind, color, stripes) for kind, color, stripes in row] for row in _read_json(which)]


def _read_json(which: str) -> list[list[list[str]]]:
    read: list[list[list[str]]] = json.loads((LABELS / f"{which}.json").read_text())
    return read


def make_pictures(assets: Path, which: str) -> torch.Tensor:
    """All pictures of a set [N, 3, 64, 64]."""
    model, residuals = load_model(assets), _residuals(assets)
    pictures = []
    for arm, case in shuffled_cases(which):
        _, described, taught, guided = ARMS[arm]
        own = {kind: residuals[kind] for kind in case.boxes} if taught else None
        boxes = case.boxes if guided else None
        pictures.append(
            sample(
                model, case.text(OF_CLASS if described else None), [case.seed], Recipe(12, recurrence=False), own, boxes
            )
        )
    return torch.cat(pictures)


def save_pictures(pictures: torch.Tensor, path: Path) -> None:
    """All pictures in one file, without loss at 8 bits."""
    tiles = (pictures.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    rows = [np.concatenate(list(tiles[i : i + COLUMNS]), 1) for i in range(0, len(tiles), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)


def read_pictures(path: Path) -> torch.Tensor:
    """The pictures of such a file, [N, 3, 64, 64] in [0, 1]."""
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)
    tiles = pixels.unfold(1, SIZE, SIZE).unfold(2, SIZE, SIZE)
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)


def pictures_of(which: str) -> torch.Tensor:
    """The committed pictures of a set."""
    return read_pictures(LABELS / f"{which}.png")


def write_sheets(pictures: torch.Tensor, folder: Path, columns: int = 5, rows: int = 4, zoom: int = 4) -> None:
    """Numbered sheets, large enough to read."""
    folder.mkdir(parents=True, exist_ok=True)
    side, per = SIZE * zoom, columns * rows
    for first in range(0, len(pictures), per):
        sheet = Image.new("RGB", (columns * (side + 4), rows * (side + 16)), "white")
        pen = ImageDraw.Draw(sheet)
        for index, picture in enumerate(pictures[first : first + per]):
            x, y = index % columns * (side + 4), index // columns * (side + 16)
            tile = Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy())
            sheet.paste(tile.resize((side, side), Image.Resampling.NEAREST), (x, y + 14))
            pen.text((x + 4, y + 1), str(first + index), fill="black")
        sheet.save(folder / f"{first:03d}.png")


def agreement(judge: Detector, which: str) -> dict[str, list[float]]:
    """How often judge and reader agree about a set, as shares with 95 % intervals and counts.

    Of all objects that the prompts named, `class`: is it there? `right`: is it there in all colors of
    its class's custom subject? `class_of_seen`: of the objects that reader or judge see, those that
    both see; of these, `color`: the same body color, `colors`: the same colors, `exact`: the same look.
    """
    found = detect(judge, pictures_of(which))
    hits: dict[str, list[bool]] = {key: [] for key in ("class", "right", "class_of_seen", "color", "colors", "exact")}
    for seen, read, (_, case) in zip(found, labels_of(which), shuffled_cases(which), strict=True):
        told = {kind: Look(kind, color, stripes) for kind, color, stripes in read}
        hits["class"] += [(kind in seen) == (kind in told) for kind in case.boxes]
        for kind in case.boxes:
            own = OF_CLASS[kind].colors
            judged_right = kind in seen and seen[kind].look.colors == own
            hits["right"].append(judged_right == (kind in told and told[kind].colors == own))
        hits["class_of_seen"] += [kind in seen and kind in told for kind in set(seen) | set(told)]
        for kind in set(seen) & set(told):
            judged, mine = seen[kind].look, told[kind]
            hits["color"].append(judged.color == mine.color)
            hits["colors"].append(judged.colors == mine.colors)
            hits["exact"].append(judged == mine)
    return {key: [*wilson(sum(values), len(values)), len(values)] for key, values in hits.items()}


def differences(found: list[dict[str, Found]], labels: list[list[Label]]) -> Iterator[str]:
    """A line for each object about which judge and reader differ."""
    for number, (seen, read) in enumerate(zip(found, labels, strict=True)):
        told = {kind: (color, stripes) for kind, color, stripes in read}
        for kind in CLASSES:
            judged = (seen[kind].look.color, seen[kind].look.stripes) if kind in seen else None
            if judged != told.get(kind):
                yield f"{number} {kind}: judge {judged}, reader {told.get(kind)}"


def main() -> None:
    """Make the pictures, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["pictures", "agree"])
    parser.add_argument("--assets", type=Path, default=TOYWORLD)
    parser.add_argument("--judge", type=Path, default=TOYWORLD / "detector.safetensors")
    parser.add_argument("--set", choices=EACH, default="first")
    parser.add_argument("--sheets", type=Path, help="pictures: folder for numbered sheets")
    parser.add_argument("--show", action="store_true", help="agree: list the differences")
    options = parser.parse_args()
    if options.what == "pictures":
        pictures = make_pictures(options.assets, options.set)
        LABELS.mkdir(parents=True, exist_ok=True)
        save_pictures(pictures, LABELS / f"{options.set}.png")
        if options.sheets:
            write_sheets(pictures, options.sheets)
        return
    judge = load_detector(options.judge)
    print(json.dumps(agreement(judge, options.set), indent=1))
    if options.show:
        print("\n".join(differences(detect(judge, pictures_of(options.set)), labels_of(options.set))))


if __name__ == "__main__":
    main()
