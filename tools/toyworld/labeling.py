"""The judge against a reader: `python -m tools.toyworld.labeling agree` compares it with labels made by hand.

`labels/` has generated pictures of an earlier model in two sets, and what one reader saw in each of them.
`sheets --to DIR` writes the pictures numbered and large, for another reader.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cones2.assets import TOYWORLD
from cones2.evaluation.scores import Share
from cones2.evaluation.toyworld.detector import Detector, Found, detect, load_detector
from cones2.evaluation.toyworld.world import CLASSES, SIZE, SUBJECTS, Look

LABELS = Path(__file__).parent / "labels"
# The judge's training was changed once after a look at the first set's differences; the second set was made and
# read after that.
SETS = ("first", "second")
OF_CLASS = {look.kind: look for look in SUBJECTS.values()}


@dataclass(frozen=True)
class Labeled:
    """A picture's labels. named: the classes that its prompt asked for. seen: class → what the reader saw."""

    named: tuple[str, ...]
    seen: Mapping[str, Look]


def labels_of(which: str) -> list[Labeled]:
    """The labels of each picture of a set."""
    rows = json.loads((LABELS / f"{which}.json").read_text())
    return [Labeled(tuple(row["named"]), {kind: Look(kind, *colors) for kind, *colors in row["seen"]}) for row in rows]


def pictures_of(which: str) -> torch.Tensor:
    """The pictures of a set, [N, 3, 64, 64] in [0, 1]."""
    with Image.open(LABELS / f"{which}.png") as image:
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


def agreement(judge: Detector, which: str) -> dict[str, Share]:
    """How often judge and reader agree about a set.

    Of all objects that the prompts named, `class`: is it there? `right`: is it there in all colors of
    its class's custom subject? `class_of_seen`: of the objects that reader or judge see, those that
    both see; of these, `color`: the same body color, `colors`: the same colors, `exact`: the same look.
    """
    found = detect(judge, pictures_of(which))
    hits: dict[str, list[bool]] = {key: [] for key in ("class", "right", "class_of_seen", "color", "colors", "exact")}
    for seen, read in zip(found, labels_of(which), strict=True):
        told = read.seen
        hits["class"] += [(kind in seen) == (kind in told) for kind in read.named]
        for kind in read.named:
            own = OF_CLASS[kind].colors
            judged_right = kind in seen and seen[kind].look.colors == own
            hits["right"].append(judged_right == (kind in told and told[kind].colors == own))
        hits["class_of_seen"] += [kind in seen and kind in told for kind in set(seen) | set(told)]
        for kind in set(seen) & set(told):
            judged, mine = seen[kind].look, told[kind]
            hits["color"].append(judged.color == mine.color)
            hits["colors"].append(judged.colors == mine.colors)
            hits["exact"].append(judged == mine)
    return {key: Share(sum(values), len(values)) for key, values in hits.items()}


def differences(found: list[dict[str, Found]], labels: list[Labeled]) -> Iterator[str]:
    """A line for each object about which judge and reader differ."""
    for number, (seen, read) in enumerate(zip(found, labels, strict=True)):
        for kind in CLASSES:
            judged, told = seen[kind].look if kind in seen else None, read.seen.get(kind)
            if judged != told:
                yield f"{number} {kind}: judge {judged}, reader {told}"


def main() -> None:
    """Compare, or write sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["agree", "sheets"])
    parser.add_argument("--judge", type=Path, default=TOYWORLD / "detector.safetensors")
    parser.add_argument("--set", choices=SETS, default="first")
    parser.add_argument("--to", type=Path, default=Path("sheets"), help="sheets: folder for them")
    parser.add_argument("--show", action="store_true", help="agree: list the differences")
    options = parser.parse_args()
    if options.what == "sheets":
        write_sheets(pictures_of(options.set), options.to)
        return
    judge = load_detector(options.judge)
    for what, share in agreement(judge, options.set).items():
        print(f"{what}: {share} of {share.n}")
    if options.show:
        print("\n".join(differences(detect(judge, pictures_of(options.set)), labels_of(options.set))))


if __name__ == "__main__":
    main()
