"""The judge: a small network that says, per cell, which class is there and in which colors.

It is trained on renderings alone and never sees the denoiser (tools/toyworld/detector.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from .world import CLASSES, COLORS, Look

GRID = 32  # cells per side
SMALLEST = 15  # cells of one class that count as an object: half of what the smallest one covers
FRAGMENT = 0.25  # of the largest class in a connected part: smaller classes there are misread pieces of it
PATTERNS = ("plain", "striped", "dotted")
HEADS = {
    "kind": len(CLASSES) + 1,  # 0 is background
    "color": len(COLORS),
    "pattern": len(PATTERNS),
    "second": len(COLORS),  # of the stripes or dots
    "badge": len(COLORS) + 1,  # 0 is none
}


def _block(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outer), nn.ReLU(inplace=True))


class Detector(nn.Module):
    """Pictures [B, 3, 64, 64] in [0, 1] to logits of every head, [B, n, 32, 32] each."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_block(3, 32, 2), _block(32, 32))
        self.middle = nn.Sequential(_block(32, 64, 2), _block(64, 64))
        self.coarse = nn.Sequential(_block(64, 96, 2), _block(96, 96), _block(96, 96))
        self.merge_middle = _block(160, 64)
        self.merge_fine = nn.Sequential(_block(96, 48), _block(48, 48))
        self.head = nn.Conv2d(48, sum(HEADS.values()), 1)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.fine(pictures * 2 - 1)
        middle = self.middle(fine)
        coarse = F.interpolate(self.coarse(middle), scale_factor=2)
        middle = F.interpolate(self.merge_middle(torch.cat([middle, coarse], 1)), scale_factor=2)
        logits = self.head(self.merge_fine(torch.cat([fine, middle], 1)))
        return dict(zip(HEADS, logits.split(list(HEADS.values()), 1), strict=True))


@dataclass(frozen=True)
class Found:
    """An object seen: its look, center as fractions of the picture, cells [32, 32] it covers."""

    look: Look
    x: float
    y: float
    cells: torch.Tensor

    def center_in(self, mask: torch.Tensor) -> bool:
        """Whether its center lies inside a mask [H, W] over the whole picture."""
        height, width = mask.shape
        return bool(mask[int(self.y * height), int(self.x * width)])


def voted_look(kind: str, votes: Mapping[str, torch.Tensor]) -> Look:
    """The look of an object from its cells' mean probabilities under each head.

    Color and second color are voted jointly, so that they differ.
    """
    pattern = PATTERNS[int(votes["pattern"].argmax())]
    badge = int(votes["badge"].argmax())
    kept = COLORS[badge - 1] if badge else None
    if pattern == "plain":
        return Look(kind, COLORS[int(votes["color"].argmax())], badge=kept)
    joint = torch.outer(votes["color"], votes["second"]).fill_diagonal_(0)
    first, second = (COLORS[index] for index in divmod(int(joint.argmax()), len(COLORS)))
    return Look(kind, first, second, kept) if pattern == "striped" else Look(kind, first, badge=kept, dots=second)


def _look(kind: int, logits: Mapping[str, torch.Tensor], row: int, cells: torch.Tensor) -> Look:
    votes = {name: values[row][:, cells].softmax(0).mean(1) for name, values in logits.items() if name != "kind"}
    return voted_look(CLASSES[kind], votes)


def parts(foreground: torch.Tensor) -> torch.Tensor:
    """Connected parts of masks [B, h, w]: the same positive number on every cell of a part, 0 elsewhere."""
    inside = foreground[:, None].float()
    cells = torch.arange(1, inside[0].numel() + 1, dtype=torch.float32, device=inside.device)
    marks = cells.view_as(inside[:1]) * inside
    while True:
        grown = F.max_pool2d(marks, 3, 1, 1) * inside
        if torch.equal(grown, marks):
            return marks[:, 0].long()
        marks = grown


def without_fragments(owner: torch.Tensor) -> torch.Tensor:
    """Classes per cell [B, h, w] (0 is background) where a part's small classes have become its largest one.

    A part is one object, or objects that touch; a class with less than `FRAGMENT` of the cells of
    the part's largest class is a misread piece of that.
    """
    merged = owner.clone()
    marks = parts(owner > 0)
    for row in range(len(owner)):
        for mark in sorted(set(marks[row].flatten().tolist())):
            part = marks[row] == mark
            counts = owner[row][part].bincount(minlength=len(CLASSES) + 1)
            if mark and counts.count_nonzero() > 1:
                largest = int(counts.argmax())
                fragment = counts < FRAGMENT * counts[largest]
                merged[row][part & fragment[owner[row]]] = largest
    return merged


@torch.no_grad()
def detect(
    detector: Detector, pictures: torch.Tensor, apart: Sequence[Mapping[str, Mapping[str, torch.Tensor]]] = ()
) -> list[dict[str, Found]]:
    """For every picture, the classes present and how each looks.

    apart: of each picture, the classes that several subjects have, with each subject's name and the cells [32, 32]
    where one of this class is its own; they are found under these names.
    """
    logits = detector(pictures)
    owner = without_fragments(logits["kind"].argmax(1))
    results = []
    for row in range(len(pictures)):
        found = {}
        for kind, name in enumerate(CLASSES):
            of_class = owner[row] == kind + 1
            split = apart[row].get(name) if apart else None
            for key, cells in {each: of_class & own for each, own in (split or {name: of_class}).items()}.items():
                if int(cells.sum()) >= SMALLEST:
                    y, x = ((cells.nonzero().float().mean(0) + 0.5) / GRID).tolist()
                    found[key] = Found(_look(kind, logits, row, cells), x, y, cells)
        results.append(found)
    return results


@torch.no_grad()
def looks_within(detector: Detector, pictures: torch.Tensor, kind: str, mask: torch.Tensor) -> list[Look | None]:
    """How the object of a class looks inside a region of each picture; None where the region has none.

    mask: bool [H, W] over the whole picture.
    """
    logits = detector(pictures)
    owner = without_fragments(logits["kind"].argmax(1)) == CLASSES.index(kind) + 1
    inside = F.interpolate(mask[None, None].float(), (GRID, GRID))[0, 0] > 0
    return [
        _look(CLASSES.index(kind), logits, row, cells) if int(cells.sum()) >= SMALLEST else None
        for row, cells in enumerate(owner & inside)
    ]


def load_detector(path: Path) -> Detector:
    """The trained judge, ready for use."""
    detector = Detector()
    detector.load_state_dict(load_file(path))
    return detector.eval()
