"""Pictures people look at: labeled layouts, heat maps and grids."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .colors import RGB
from .regions import Layout, Region

# for regions without a color: hues that color-blind people tell apart (Okabe and Ito 2008; the last is Tol's wine)
PALETTE: tuple[RGB, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167), (136, 34, 85),
)  # fmt: skip
_HEAT = np.array([(10, 8, 30), (90, 20, 110), (190, 50, 90), (245, 130, 50), (252, 240, 170)], dtype=np.float64)
_STRONGEST = 0.7  # opacity of a heat map on a picture
_GAP = 8
_STROKE = 2
_READABLE = 256  # pixels of the shorter side


def region_color(region: Region, index: int) -> RGB:
    """The color a region is drawn in: its own, else the palette's."""
    return region.color if region.color is not None else PALETTE[index % len(PALETTE)]


def layout_picture(layout: Layout, height: int, width: int) -> Image.Image:
    """The layout as RGB, each region in its color with its subject's name; overlaps are mixed."""
    canvas = np.full((height, width, 3), 255.0)
    for index, region in enumerate(layout.regions):
        mask = _mask_at(region, height, width)
        occupied = mask & (canvas < 255).any(-1)
        color = np.array(region_color(region, index), dtype=np.float64)
        canvas[mask & ~occupied] = color
        canvas[occupied] = (canvas[occupied] + color) / 2
    picture = Image.fromarray(canvas.round().astype(np.uint8))
    for region in layout.regions:
        rows, columns = np.nonzero(_mask_at(region, height, width))
        if rows.size:
            _write(picture, region.subject, (float(columns.mean()), float(rows.mean())))
    return picture


def layout_preview(layout: Layout, height: int, width: int) -> Image.Image:
    """The layout of a picture of that size in pixels, enlarged where its names could not be read."""
    scale = math.ceil(_READABLE / min(height, width))
    return layout_picture(layout, height * scale, width * scale)


def heat_picture(heat: Tensor, height: int, width: int, top: float | None = None) -> Image.Image:
    """A heat map [h, w] as RGB, dark = 0, light = `top` (its own maximum when not given)."""
    values = heat.float().cpu().numpy()
    top = float(values.max()) if top is None else top
    position = np.clip(values / top if top > 0 else values, 0, 1) * (len(_HEAT) - 1)
    channels = [np.interp(position, np.arange(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)]
    picture = Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def heat_overlay(picture: Image.Image, heats: Tensor, regions: Sequence[Region]) -> Image.Image:
    """An RGB picture with each region's heat map [h, w] of `heats` in the region's color, and its name at the hottest
    place. A map's own maximum is its strongest color.
    """
    places = []
    for index, (heat, region) in enumerate(zip(heats.float().cpu().numpy(), regions, strict=True)):
        strength = heat / max(float(heat.max()), 1e-12) * _STRONGEST
        small = Image.fromarray((strength * 255).round().astype(np.uint8))
        cover = small.resize(picture.size, Image.Resampling.BICUBIC)
        picture = Image.composite(Image.new("RGB", picture.size, region_color(region, index)), picture, cover)
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        place = ((column + 0.5) / heat.shape[1] * picture.width, (row + 0.5) / heat.shape[0] * picture.height)
        places.append((region.subject, place))
    for name, place in places:
        _write(picture, name, place)
    return picture


def labeled(picture: Image.Image, caption: str) -> Image.Image:
    """The picture with a caption strip above it."""
    font = _font(max(12, picture.width // 20))
    strip = int(font.size * 1.6)
    out = Image.new("RGB", (picture.width, picture.height + strip), (255, 255, 255))
    out.paste(picture, (0, strip))
    ImageDraw.Draw(out).text((picture.width / 2, strip / 2), caption, fill=(20, 20, 20), font=font, anchor="mm")
    return out


def grid(pictures: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Pictures of one size side by side on white, row by row."""
    columns = columns or min(len(pictures), 4)
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].size
    out = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), (255, 255, 255))
    for index, picture in enumerate(pictures):
        out.paste(picture, (index % columns * (width + _GAP), index // columns * (height + _GAP)))
    return out


def _mask_at(region: Region, height: int, width: int) -> NDArray[np.bool_]:
    mask = Image.fromarray(region.mask.numpy().astype(np.uint8) * 255)
    return np.asarray(mask.resize((width, height), Image.Resampling.NEAREST)) > 127


def _write(picture: Image.Image, text: str, center: tuple[float, float]) -> None:
    font, draw = _font(max(12, picture.width // 18)), ImageDraw.Draw(picture)
    half = min(draw.textlength(text, font) / 2 + _STROKE, picture.width / 2)
    x, y = center
    inside = (min(max(x, half), picture.width - half), y)  # a name at the edge is whole
    draw.text(
        inside, text, fill=(255, 255, 255), font=font, anchor="mm", stroke_width=_STROKE, stroke_fill=(20, 20, 20)
    )


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType, which labels need")
    return font
