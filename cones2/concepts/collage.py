"""Cut-outs in their regions: the pictures that a start from the photos is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..layout.grid import coverage, resize_set
from ..layout.regions import Region
from ..prompt.tokens import Span
from .concept import PlacedConcept
from .cutout import CutOut

_GRAY = 0.5
_LEAST = 6  # pixels of a pasted cut-out's side
_HALF = 0.5  # of a pixel or cell: from there on it belongs to the cut-out


@dataclass(frozen=True, eq=False)
class PhotoPlace:
    """The cut-outs of one subject and where they go.

    cutouts: at least one; each picture takes another.
    region: bool [H, W] over the whole picture, not empty.
    picture: the one picture of a batch that it is for; None for all.
    """

    cutouts: tuple[CutOut, ...]
    region: Tensor
    picture: int | None = None


class PlacedCutouts(NamedTuple):
    """Photos of a subject that is otherwise only named: a placed concept that changes no words."""

    cutouts: tuple[CutOut, ...]
    spans: Sequence[Span]

    def change_rows(self, rows: Tensor) -> None:
        """Nothing."""


class Collages(NamedTuple):
    """Gray pictures that hold cut-outs.

    pictures: [B, 3, H, W] in [0, 1]. covered: bool [B, H, W], where a cut-out lies in its region.
    """

    pictures: Tensor
    covered: Tensor

    def cells(self, height: int, width: int) -> Tensor:
        """The cells of a coarser grid that belong to the cut-outs: bool [B, 1, height, width].

        Those that are covered by more than half; where none is, the ones that are covered most.
        """
        shares = [coverage(covered, height, width) for covered in self.covered]
        return torch.stack([_mostly(share) for share in shares])[:, None]


def photo_places(
    regions: Sequence[Region], spans: Sequence[Sequence[Span]], concepts: Sequence[PlacedConcept]
) -> tuple[PhotoPlace, ...]:
    """Where the concepts' cut-outs go: into the regions that share a token with them.

    spans: the tokens of each region. A region that keeps its subject out (a weight below 0) gets none.
    """
    places = []
    for region, own in zip(regions, spans, strict=True):
        tokens = _tokens(own)
        found = [c.cutouts for c in concepts if c.cutouts and tokens & _tokens(c.spans)]
        if found and region.weight > 0 and bool(region.mask.any()):
            places.append(PhotoPlace(found[0], region.mask))
    return tuple(places)


def collages(places: Sequence[PhotoPlace], seeds: Sequence[int], height: int, width: int) -> Collages:
    """One picture per seed; the seed chooses among a subject's cut-outs, so that the next seed has the next one."""
    pictures, covered = [], []
    for index, seed in enumerate(seeds):
        own = [place for place in places if place.picture in (None, index)]
        things = [(place.cutouts[seed % len(place.cutouts)], place.region) for place in own]
        picture, cover = pasted(torch.full((3, height, width), _GRAY), things)
        pictures.append(picture)
        covered.append(cover)
    return Collages(torch.stack(pictures), torch.stack(covered))


def pasted(background: Tensor, things: Sequence[tuple[CutOut, Tensor]]) -> tuple[Tensor, Tensor]:
    """A picture [3, H, W] with each cut-out as large as its region's bounds allow, in their middle.

    things: cut-outs with their regions, bool [h, w] over the whole picture; later ones lie on earlier ones.
    Second: where a cut-out lies in its region, bool [H, W].
    """
    picture, covered = background.clone(), torch.zeros(background.shape[1:], dtype=torch.bool)
    for cutout, mask in things:
        region = resize_set(mask, *covered.shape)
        rows, columns = _fitted(cutout, region)
        layers = cutout.resized(rows.stop - rows.start, columns.stop - columns.start)
        opacity = layers[3]
        picture[:, rows, columns] = picture[:, rows, columns] * (1 - opacity) + layers[:3] * opacity
        covered[rows, columns] |= (opacity > _HALF) & region[rows, columns]
    return picture, covered


def _fitted(cutout: CutOut, region: Tensor) -> tuple[slice, slice]:
    """The rows and columns of the picture that a cut-out takes, in its own proportions."""
    inside = [region.any(1).nonzero(), region.any(0).nonzero()]
    (top, bottom), (left, right) = ((int(axis[0]), int(axis[-1]) + 1) for axis in inside)
    scale = min((bottom - top) / cutout.height, (right - left) / cutout.width)
    height, width = (max(_LEAST, round(side * scale)) for side in (cutout.height, cutout.width))
    return _middle(top, bottom, height, region.shape[0]), _middle(left, right, width, region.shape[1])


def _middle(start: int, end: int, length: int, limit: int) -> slice:
    """So many cells around the middle of [start, end), moved into [0, limit)."""
    length = min(length, limit)
    first = min(max(start + (end - start - length) // 2, 0), limit - length)
    return slice(first, first + length)


def _mostly(share: Tensor) -> Tensor:
    most = float(share.max())
    return share > _HALF if most > _HALF else (share == most) & (share > 0)


def _tokens(spans: Sequence[Span]) -> set[int]:
    return {index for span in spans for index in span}
