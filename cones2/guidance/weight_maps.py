"""Weight maps: the W[position, token] of the layout guidance term, for a layer's own grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LayoutError
from ..layout.grid import coverage
from ..layout.regions import Layout, Region
from ..prompt.tokens import Span
from .settings import DEFAULT_OUTSIDE_WEIGHT as DEFAULT_OUTSIDE_WEIGHT
from .settings import OutsideMode as OutsideMode


@dataclass(frozen=True, eq=False)
class WeightImage:
    """Full-size weights of one subject.

    image: [H, W] float32.
    token_indices: the tokens it steers, ascending; the start token is 0.
    regions: those that keep at least one cell at every grid.
    """

    image: Tensor
    token_indices: tuple[int, ...]
    regions: tuple[Region, ...]


@dataclass(eq=False)
class WeightMaps:
    """W for any layer grid.

    images: one per subject; their token indices are disjoint. Tokens that no image lists weigh 0 everywhere.
    """

    images: tuple[WeightImage, ...]
    _cache: dict[tuple[int, int, torch.device], Tensor] = field(default_factory=dict, repr=False)
    _groups: dict[tuple[int, int, torch.device], Tensor] = field(default_factory=dict, repr=False)

    @property
    def token_indices(self) -> tuple[int, ...]:
        """The tokens that `at` has a column for, in its order."""
        return tuple(index for image in self.images for index in image.token_indices)

    def copy(self) -> WeightMaps:
        """The same weights with nothing resized yet; resized maps stay with the copy."""
        return WeightMaps(self.images)

    def crop(self, top: float, left: float, height: float, width: float) -> WeightMaps:
        """The weights of a part of the canvas, given as fractions of it (0–1). A region that lies
        wholly elsewhere is not kept alive: there its subject weighs what it weighs outside."""
        return WeightMaps(tuple(_crop_image(image, top, left, height, width) for image in self.images))

    def at(self, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
        """Weights for a layer that attends over a `height` × `width` grid: [height·width, tokens] float32."""
        key = (height, width, torch.device(device))
        if key not in self._cache:
            columns: list[Tensor] = []
            for image in self.images:
                columns += [_at_grid(image, height, width)] * len(image.token_indices)
            self._cache[key] = torch.stack(columns, dim=-1).to(device)
        return self._cache[key]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of each image that steers any."""
        return tuple(image.token_indices for image in self.images if image.token_indices)

    def groups_at(self, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
        """As `at`, with one column for each of `groups`, whose tokens all weigh alike: [height·width, groups]."""
        key = (height, width, torch.device(device))
        if key not in self._groups:
            starts = itertools.accumulate(len(group) for group in self.groups)
            columns = [stop - len(group) for stop, group in zip(starts, self.groups, strict=True)]
            self._groups[key] = self.at(*key)[:, columns]
        return self._groups[key]


def _crop_image(image: WeightImage, top: float, left: float, height: float, width: float) -> WeightImage:
    rows = _cells(top, height, image.image.shape[0])
    columns = _cells(left, width, image.image.shape[1])
    regions = tuple(replace(region, mask=region.mask[rows, columns]) for region in image.regions)
    kept = tuple(region for region in regions if region.mask.any())
    return WeightImage(image.image[rows, columns], image.token_indices, kept)


def _cells(start: float, extent: float, size: int) -> slice:
    """The cells of an axis that a fraction of it covers, never fewer than one."""
    first = min(round(start * size), size - 1)
    return slice(first, max(first + 1, round((start + extent) * size)))


def weight_maps(
    layout: Layout,
    spans: Sequence[Sequence[Span]],
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
    outside_mode: OutsideMode = "outside",
) -> WeightMaps:
    """Weight maps of a layout whose k-th region steers the tokens `spans[k]`.

    A subject weighs its region's weight inside. Outside it weighs `outside_weight`: everywhere
    (outside_mode="outside", as published) or only in other subjects' regions and 0 on the background
    (outside_mode="others", the paper's figure 4). Regions that steer the same tokens are united and
    the larger weight wins; different subjects may overlap and each keeps its region.
    Raises LayoutError when two regions share some, but not all, of their tokens.
    """
    grouped: dict[tuple[int, ...], list[Region]] = {}
    for region, spans_of_region in zip(layout.regions, spans, strict=True):
        indices = tuple(sorted({index for span in spans_of_region for index in span}))
        grouped.setdefault(indices, []).append(region)
    _check_disjoint(grouped)
    return WeightMaps(
        tuple(
            WeightImage(_weight_image(regions, layout, outside_weight, outside_mode), indices, tuple(regions))
            for indices, regions in grouped.items()
        )
    )


def _check_disjoint(grouped: dict[tuple[int, ...], list[Region]]) -> None:
    owner: dict[int, str] = {}
    for indices, regions in grouped.items():
        for index in indices:
            if index in owner:
                raise LayoutError(f'"{owner[index]}" and "{regions[0].subject}" share token {index} of the prompt')
            owner[index] = regions[0].subject


def _weight_image(own: Sequence[Region], layout: Layout, outside_weight: float, outside_mode: OutsideMode) -> Tensor:
    inside = torch.stack([region.mask for region in own])
    weights = torch.tensor([region.weight for region in own])
    best = torch.where(inside, weights[:, None, None], -torch.inf).amax(0)
    outside = torch.full(best.shape, outside_weight)
    if outside_mode == "others":
        others = [region.mask for region in layout.regions if all(region is not mine for mine in own)]
        claimed = torch.stack(others).any(0) if others else torch.zeros_like(inside[0])
        outside = torch.where(claimed, outside, 0.0)
    return torch.where(inside.any(0), best, outside)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize with aligned corners, as published: [H, W] to [height, width]."""
    return F.interpolate(image[None, None], (height, width), mode="bilinear", align_corners=True)[0, 0]


def _at_grid(subject: WeightImage, height: int, width: int) -> Tensor:
    grid = resize(subject.image, height, width)
    for region in subject.regions:
        row, column = _best_cell(region.mask, height, width)
        grid[row, column] = max(float(grid[row, column]), region.weight)
    return grid.flatten()


def _best_cell(mask: Tensor, height: int, width: int) -> tuple[int, int]:
    """The cell with the greatest share inside the mask; among equals the one nearest its centroid."""
    share = coverage(mask, height, width)
    tied = (share >= share.max() - 1e-9).nonzero().double()
    scale = torch.tensor([height / mask.shape[0], width / mask.shape[1]], dtype=torch.float64)
    centroid = (mask.nonzero().double().mean(0) + 0.5) * scale
    row, column = tied[((tied + 0.5 - centroid) ** 2).sum(-1).argmin()].long().tolist()
    return row, column
