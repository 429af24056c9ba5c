"""Cut-outs: a subject out of one of its photos, small, with transparency around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import Cones2Error

MAX_CUTOUTS = 6
"""Of one subject."""

STORED_SIDE = 128
"""Pixels of the longer side at most, in a residual's file."""

MAX_SIDE = 1024
"""Pixels of the longer side at most, of any cut-out."""

_VISIBLE = 0.1  # opacity from which a pixel belongs to the subject's bounds
_SOLID = 0.5  # opacity that some pixel must reach


@dataclass(frozen=True, eq=False)
class CutOut:
    """A subject out of a photo, as tight as it goes.

    rgba: [4, H, W] float32 in [0, 1] on the CPU: the color, not multiplied with the opacity, and the opacity.
    """

    rgba: Tensor

    def __post_init__(self) -> None:
        rgba = self.rgba
        if rgba.ndim != 3 or rgba.shape[0] != 4 or not rgba.numel() or max(rgba.shape[1:]) > MAX_SIDE:
            raise Cones2Error(f"a cut-out of shape {tuple(rgba.shape)}: expected (4, height, width) up to {MAX_SIDE}")
        if not ((rgba >= 0) & (rgba <= 1)).all():
            raise Cones2Error("a cut-out has values outside of 0 to 1")
        if float(rgba[3].max()) < _SOLID:
            raise Cones2Error("the cut-out is empty: nothing in it is opaque")

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.rgba.shape[1])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.rgba.shape[2])

    def flipped(self) -> CutOut:
        """Its mirror image, left for right."""
        return CutOut(self.rgba.flip(-1))

    def within(self, longest: int) -> CutOut:
        """The cut-out, made smaller where its longer side has more than `longest` pixels."""
        return CutOut(_within(self.rgba, longest))

    def resized(self, height: int, width: int) -> Tensor:
        """Its picture at another size: [4, height, width]."""
        return _resized(self.rgba, height, width)


def cut_out(photo: Tensor, mask: Tensor, longest: int = STORED_SIDE) -> CutOut:
    """The subject out of its photo.

    photo: [3, H, W] in [0, 1]. mask: [H, W] of any number type or bool: how much of a pixel is the subject, 0–1.
    longest: pixels of the longer side at most.
    Raises Cones2Error when the two have other shapes, or the mask selects nothing.
    """
    if photo.ndim != 3 or photo.shape[0] != 3 or mask.shape != photo.shape[1:]:
        raise Cones2Error(f"the photo is {tuple(photo.shape)} and its mask {tuple(mask.shape)}: (3, H, W) and (H, W)")
    opacity = mask.detach().to("cpu", torch.float32).nan_to_num().clamp(0, 1)
    if not (opacity >= _SOLID).any():
        raise Cones2Error("the mask of the photo is empty: no value reaches 0.5")
    rows, columns = _extent((opacity >= _VISIBLE).any(1)), _extent((opacity >= _VISIBLE).any(0))
    color = photo.detach().to("cpu", torch.float32).nan_to_num().clamp(0, 1)
    return CutOut(_within(torch.cat([color, opacity[None]])[:, rows, columns].contiguous(), longest))


def _extent(used: Tensor) -> slice:
    """From the first True to the last."""
    indices = used.nonzero()
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _within(rgba: Tensor, longest: int) -> Tensor:
    height, width = rgba.shape[1:]
    scale = longest / max(height, width)
    if scale >= 1:
        return rgba
    smaller = _resized(rgba, max(1, round(height * scale)), max(1, round(width * scale)))
    if smaller[3].max() < _SOLID:  # a subject thinner than a pixel stays visible
        smaller[3] /= smaller[3].max()
    return smaller


def _resized(rgba: Tensor, height: int, width: int) -> Tensor:
    """[4, height, width], in proportion to the opacity, so that no color of what was around the subject comes in."""
    if rgba.shape[1:] == (height, width):
        return rgba
    weighted = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
    scaled = F.interpolate(weighted, (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
    opacity = scaled[3:]
    return torch.cat([(scaled[:3] / opacity.clamp(min=1e-6)).clamp(0, 1), opacity])
