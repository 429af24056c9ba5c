"""Where each subject's pictures may count: a layout's regions, hard or with soft edges (our own addition).

The published weight w_j(p) of subject j at position p is multiplied by r_j(p) and the products are divided by their
sum over the subjects; the picture part as a whole is multiplied by the largest r at p. r is 1 inside a subject's
region and `outside` elsewhere, so outside = 1 is the published behavior, and 0 leaves the background to the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layout.grid import cells_of, coverage, resize_set
from ..layout.regions import Layout, Region
from ..prompt.claims import PhraseRef, parse_phrase

_SOFT_SIDE = 256
"""Cells of the longer side of soft masks."""


@dataclass(eq=False)
class RegionShares:
    """r_j(p) of some subjects on any grid.

    masks: per subject, [H, W] of one size: bool for hard edges, float32 in [0, 1] for soft ones.
    placed: which subjects have a region; one that has none belongs where nobody else does.
    outside: r outside of a subject's region, 0–1.
    """

    masks: tuple[Tensor, ...]
    placed: tuple[bool, ...]
    outside: float
    _cache: dict[tuple[int, int, torch.device], Tensor] = field(default_factory=dict, repr=False)

    def at(self, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
        """r on a layer's grid: [k, height · width] float32."""
        key = (height, width, torch.device(device))
        if key not in self._cache:
            inside = torch.stack([_at_grid(mask, height, width) for mask in self.masks])
            taken = torch.stack([part for part, own in zip(inside, self.placed, strict=True) if own]).amax(0)
            inside = torch.stack([part if own else 1 - taken for part, own in zip(inside, self.placed, strict=True)])
            self._cache[key] = (self.outside + (1 - self.outside) * inside).flatten(1).to(device)
        return self._cache[key]

    def crop(self, top: float, left: float, height: float, width: float) -> RegionShares:
        """The shares in a part of the picture, given as fractions of it."""
        rows, columns = self.masks[0].shape
        down = cells_of(top, height, rows)
        across = cells_of(left, width, columns)
        return RegionShares(tuple(mask[down, across] for mask in self.masks), self.placed, self.outside)


def region_shares(
    layout: Layout, subjects: Sequence[PhraseRef], edge: float = 0.0, outside: float = 0.0
) -> RegionShares | None:
    """Where the pictures of subjects count under a layout; None when no region names any of them.

    edge: width of the soft border around each region, as a share of the picture's shorter side; 0: hard edges.
    outside: 0–1, see the module.
    Regions and subjects belong together by their phrases; of several with one phrase the first region is the first
    subject's, and so on. A region that keeps its subject out (a weight below 0) is where it does not count.
    """
    found = _regions_of(layout, subjects)
    if not any(found):
        return None
    masks = [_mask(layout, regions) for regions in found]
    if edge > 0:
        masks = [_softened(mask, edge) for mask in masks]
    return RegionShares(tuple(masks), tuple(map(bool, found)), outside)


def _regions_of(layout: Layout, subjects: Sequence[PhraseRef]) -> list[list[Region]]:
    by_name: dict[str, list[Region]] = {}
    for region in layout.regions:
        by_name.setdefault(_key(parse_phrase(region.subject)), []).append(region)
    members: dict[str, list[int]] = {}
    for index, subject in enumerate(subjects):
        members.setdefault(_key(subject), []).append(index)
    found: list[list[Region]] = [[] for _ in subjects]
    for name, indices in members.items():
        regions = by_name.get(name, [])
        for rank, index in enumerate(indices):
            if regions:
                found[index] = regions if len(indices) == 1 else [regions[min(rank, len(regions) - 1)]]
    return found


def _key(subject: PhraseRef) -> str:
    return str(subject).lower()


def _mask(layout: Layout, regions: Sequence[Region]) -> Tensor:
    """Where the regions let a subject be: bool [H, W]."""
    inside = [region.mask for region in regions if region.weight >= 0]
    mask = torch.stack(inside).any(0) if inside else torch.full((layout.height, layout.width), bool(regions))
    for region in regions:
        mask = mask if region.weight >= 0 else mask & ~region.mask
    return mask


def _softened(mask: Tensor, edge: float) -> Tensor:
    """The mask on at most 256 cells a side with its border blurred; its middle stays 1."""
    scale = min(1.0, _SOFT_SIDE / max(mask.shape))
    height, width = (max(1, round(side * scale)) for side in mask.shape)
    soft = coverage(mask, height, width).float()
    deviation = max(edge * min(height, width) / 2, 1e-3)
    reach = min(round(3 * deviation), max(height, width))
    if reach:
        steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
        kernel = kernel / kernel.sum()
        padded = F.pad(soft[None, None], (reach,) * 4, mode="replicate")
        soft = F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[0, 0]
    return soft / soft.max() if float(soft.max()) > 0 else soft


def _at_grid(mask: Tensor, height: int, width: int) -> Tensor:
    if mask.dtype == torch.bool:
        return resize_set(mask, height, width).float()
    return coverage(mask, height, width).float()
