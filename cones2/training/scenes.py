"""Training pictures by cut and paste: the subject beside another thing, at the sizes that layouts ask for.

After Cut-Mix-Unmix (SVDiff, arXiv 2303.11305) and Seg-Mix (MuDI, arXiv 2404.04243); here one vector of one subject
is learned, under the layout it will be used with, and the other thing is a picture that the model made itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..concepts.cutout import CutOut, cut_out
from ..errors import Cones2Error
from ..layout.regions import Box
from ..messages import shown
from .class_pictures import ClassPicture
from .draws import keyed_generator
from .views import Photo, View

log = logging.getLogger(__name__)

SIDES = (0.25, 0.55)
"""Shortest and longest side of a pasted subject, as fractions of the picture's: six regions beside each other ask for
the first, one alone for the second."""
_GAP = 1 / 64  # between two things, as a fraction of the picture
_TRIES = 60
_GROWN = 0.1  # of an object's side, by which its region is larger at most
_WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def guided_views(views: Sequence[View]) -> list[View]:
    """The views with their region: the box of the mask, or the whole picture where there is none.

    The mask, where the error counts, grows by an edge, so that outlines are learned too.
    """
    return [
        replace(view, region=_WHOLE)
        if view.mask is None
        else replace(view, region=box_of(view.mask), mask=_grown(view.mask))
        for view in views
    ]


def cutouts_of(photos: Sequence[Photo], longest: int, whole: bool = False) -> list[CutOut]:
    """The subject out of each photo, the largest in its photo first; one with an empty mask is left out.

    longest: pixels of a side at most. whole: take photos that nothing masks as they are, instead of leaving them out.
    """
    found = []
    for photo in photos:
        picture = torch.from_numpy(np.array(photo.picture, dtype=np.float32)).permute(2, 0, 1) / 255
        if photo.cover is None:
            if whole:
                found.append((0.0, cut_out(picture, _faded(picture), longest)))
            continue
        cover = torch.from_numpy(np.array(photo.cover, dtype=np.float32)) / 255
        try:
            found.append((float(cover.mean()), cut_out(picture, cover, longest)))
        except Cones2Error as error:
            log.warning("no cut-out of %s: %s", shown(photo.name), error)
    return [cutout for _, cutout in sorted(found, key=lambda pair: -pair[0])]


def paste_scenes(
    cutouts: Sequence[CutOut], pictures: Sequence[ClassPicture], count: int, seed: int, purpose: str
) -> list[View]:
    """So many scenes [3, S, S], each a cut-out beside the thing of a class picture; `purpose` keys their draws."""
    return [_scene(cutouts, pictures, keyed_generator(seed, purpose, index), index) for index in range(count)]


def box_of(mask: Tensor) -> Box:
    """The bounds of a mask [H, W], with a little around it, in fractions; of an empty one the whole picture."""
    rows, columns = (mask >= 0.5).any(1).nonzero()[:, 0], (mask >= 0.5).any(0).nonzero()[:, 0]
    if not len(rows):
        return _WHOLE
    height, width = mask.shape
    top, bottom, left, right = (int(end) for end in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return _clipped(left / width - _GAP, top / height - _GAP, right / width + _GAP, bottom / height + _GAP)


def _scene(cutouts: Sequence[CutOut], pictures: Sequence[ClassPicture], generator: torch.Generator, index: int) -> View:
    cutout = cutouts[int(torch.randint(len(cutouts), (), generator=generator))]
    picture = pictures[index % len(pictures)]
    size = picture.pixels.shape[-1]
    box = _place(cutout, picture.region, generator)
    rows, columns = _span(box.y, box.height, size), _span(box.x, box.width, size)
    thing = cutout.resized(rows.stop - rows.start, columns.stop - columns.start)
    opacity = _softened(thing[3], size)
    pixels, cover = picture.pixels.clone(), torch.zeros(size, size)
    pixels[:, rows, columns] = pixels[:, rows, columns] * (1 - opacity) + (thing[:3] * 2 - 1) * opacity
    cover[rows, columns] = thing[3]
    grow = torch.rand(4, generator=generator) * _GROWN
    region = _clipped(
        box.x - float(grow[0]) * box.width,
        box.y - float(grow[1]) * box.height,
        box.x + box.width * (1 + float(grow[2])),
        box.y + box.height * (1 + float(grow[3])),
    )
    time_ids = torch.tensor([size, size, 0, 0, size, size], dtype=torch.float32)
    return View(f"scene {index}", pixels, _grown(cover), time_ids, region, picture.phrase, picture.region)


def _place(cutout: CutOut, taken: Box, generator: torch.Generator) -> Box:
    """A box of the cut-out's proportions beside another one; where nothing fits, as far from it as possible."""
    low, high = SIDES
    longest = max(cutout.height, cutout.width)
    for _ in range(_TRIES):
        draws = torch.rand(3, generator=generator).tolist()
        side = low + (high - low) * draws[0]
        width, height = side * cutout.width / longest, side * cutout.height / longest
        box = Box(draws[1] * (1 - width), draws[2] * (1 - height), width, height)
        if _apart(box, taken):
            return box
    width, height = low * cutout.width / longest, low * cutout.height / longest
    left, top = taken.x + taken.width / 2 > 0.5, taken.y + taken.height / 2 > 0.5
    return Box(0.0 if left else 1 - width, 0.0 if top else 1 - height, width, height)


def _apart(one: Box, other: Box) -> bool:
    beside = one.x + one.width + _GAP <= other.x or other.x + other.width + _GAP <= one.x
    return beside or one.y + one.height + _GAP <= other.y or other.y + other.height + _GAP <= one.y


def _span(start: float, extent: float, size: int) -> slice:
    """Pixels of an axis, at least two."""
    length = min(size, max(2, round(extent * size)))
    first = min(max(round(start * size), 0), size - length)
    return slice(first, first + length)


def _clipped(left: float, top: float, right: float, bottom: float) -> Box:
    left, top = max(0.0, left), max(0.0, top)
    return Box(left, top, min(1.0, right) - left, min(1.0, bottom) - top)


def _softened(opacity: Tensor, size: int) -> Tensor:
    """The opacity [h, w] of a pasted thing with a seam of a 256th of the picture's side."""
    width = 2 * (size // 256) + 1
    soft = F.avg_pool2d(opacity[None, None], width, 1, width // 2)[0, 0]
    return torch.minimum(soft, opacity)


def _grown(mask: Tensor) -> Tensor:
    """A mask [H, W] with an edge of a 64th of its side around it."""
    width = 2 * max(1, max(mask.shape) // 64) + 1
    return F.max_pool2d(mask[None, None], width, 1, width // 2)[0, 0]


def _faded(picture: Tensor) -> Tensor:
    """Opaque in the middle and fading at the edges: how a photo [3, H, W] without a mask is pasted."""
    ways = [torch.linspace(-1, 1, side).abs() for side in picture.shape[1:]]
    return (4 * (1 - torch.maximum(ways[0][:, None], ways[1][None]))).clamp(0, 1)
