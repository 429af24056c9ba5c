"""The judge against a reader: pictures to label by hand, and how far the judge agrees with the labels.

`python -m tools.toyworld.labeling pictures --sheets DIR` makes the pictures of `labels/` again (from
the model of that time) and numbered sheets to read; `agree` compares the judge with `labels/labels.json`.
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
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.toyworld.detector import Detector, Found, detect, load_detector
from cones2.evaluation.toyworld.sampling import Recipe, sample
from cones2.evaluation.toyworld.world import CLASSES, SIZE, SUBJECTS

from .scenes import Case, random_cases, wilson

LABELS = Path(__file__).parent / "labels"
COLUMNS = 16  # of the committed picture of all pictures
EACH = 20  # pictures per arm
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


def _made(model: DiffusersModel, residuals: dict[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    for number, (objects, described, taught, guided) in enumerate(ARMS):
        cases: list[Case] = random_cases(EACH, objects, f"labels {number}")
        for case in cases:
            own = {kind: residuals[kind] for kind in case.boxes} if taught else None
            boxes = case.boxes if guided else None
            yield sample(model, case.text(described), [case.seed], Recipe(12, recurrence=False), own, boxes)


def make_pictures(assets: Path) -> torch.Tensor:
    """All pictures [160, 3, 64, 64], shuffled so that a reader cannot tell the arms."""
    pictures = torch.cat(list(_made(load_model(assets), _residuals(assets))))
    order = list(range(len(pictures)))
    random.Random("labels").shuffle(order)
    return pictures[order]


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


def agreement(judge: Detector, pictures: torch.Tensor, labels: list[list[Label]]) -> dict[str, list[float]]:
    """Shares with 95 % intervals: the same answer about each class that either names; the same colors where both do.

    `class`: of the objects that reader or judge see, those that both see. `color`, `colors`, `exact`: of these,
    those with the same body color, the same set of colors, the same look. `class_in_picture`: over all
    classes and pictures, the same yes or no.
    """
    found = detect(judge, pictures)
    both, either, body, colors, exact = 0, 0, 0, 0, 0
    for seen, read in zip(found, labels, strict=True):
        told = {kind: (color, stripes) for kind, color, stripes in read}
        either += len(set(seen) | set(told))
        for kind in set(seen) & set(told):
            color, stripes = told[kind]
            look = seen[kind].look
            both += 1
            body += look.color == color
            colors += look.colors == {color, stripes} - {None}
            exact += (look.color, look.stripes, look.dots, look.badge) == (color, stripes, None, None)
    cells = len(CLASSES) * len(labels)
    return {
        "class": wilson(both, either),
        "class_in_picture": wilson(cells - (either - both), cells),
        "color": wilson(body, both),
        "colors": wilson(colors, both),
        "exact": wilson(exact, both),
        "objects": [either],
    }


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
    parser.add_argument("--folder", type=Path, default=LABELS, help="pictures.png and labels.json")
    parser.add_argument("--sheets", type=Path, help="pictures: folder for numbered sheets")
    parser.add_argument("--show", action="store_true", help="agree: list the differences")
    options = parser.parse_args()
    if options.what == "pictures":
        pictures = make_pictures(options.assets)
        options.folder.mkdir(parents=True, exist_ok=True)
        save_pictures(pictures, options.folder / "pictures.png")
        if options.sheets:
            write_sheets(pictures, options.sheets)
        return
    labels = json.loads((options.folder / "labels.json").read_text())
    pictures, judge = read_pictures(options.folder / "pictures.png"), load_detector(options.judge)
    print(json.dumps(agreement(judge, pictures, labels), indent=1))
    if options.show:
        print("\n".join(differences(detect(judge, pictures), labels)))


if __name__ == "__main__":
    main()
