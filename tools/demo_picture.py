"""The picture that `make demo` writes: rows of photos, samples and attention maps with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cones2.layout.colors import RGB
from cones2.layout.drawing import heat_picture, layout_picture
from cones2.layout.regions import Layout

CELL, GAP, MARGIN = 128, 8, 190
SAMPLES = 6
INK = (25, 25, 30)


@dataclass(frozen=True, eq=False)
class Row:
    """A caption, the layout that was followed (None: none), and pictures."""

    caption: str
    layout: Layout | None
    pictures: Sequence[Image.Image]


def photo_row(word: str, color: RGB, photos: Sequence[Image.Image]) -> Image.Image:
    """The photos of a subject behind a swatch of its region's color."""
    swatch = Image.new("RGB", (CELL, CELL), color)
    _write(swatch, word, (CELL / 2, CELL / 2), 24, fill=(255, 255, 255), stroke=INK)
    return _row(f'{len(photos)} photos and words\nteach one vector\nfor "{word}"', [swatch, *photos])


def overview(
    photos: Sequence[Image.Image], samples: Sequence[Row], words: Sequence[str], free: Tensor, guided: Tensor
) -> Image.Image:
    """All rows below each other. free, guided: attention maps [subjects, h, w] without and with the layout."""
    sampled = [_sample_row(row) for row in samples]
    heats = [_heat_row(word, *maps) for word, *maps in zip(words, free, guided, strict=True)]
    attention = Image.new("RGB", (MARGIN + (SAMPLES + 1) * (CELL + GAP), CELL), "white")
    attention.paste(
        _row("attention of each word\nwithout and\nwith the layout", [cell for row in heats for cell in row])
    )
    rows = [*photos, *sampled, attention]
    width = max(row.width for row in rows)
    picture = Image.new("RGB", (width + GAP, len(rows) * (CELL + GAP) + GAP), "white")
    for index, row in enumerate(rows):
        picture.paste(row, (0, GAP + index * (CELL + GAP)))
    return picture


def _sample_row(row: Row) -> Image.Image:
    if row.layout is None:
        first = Image.new("RGB", (CELL, CELL), (244, 244, 246))
        _write(first, "no layout", (CELL / 2, CELL / 2), 16, fill=(120, 120, 125))
    else:
        first = layout_picture(row.layout, CELL, CELL)
    return _row(row.caption, [first, *row.pictures[:SAMPLES]])


def _heat_row(word: str, free: Tensor, guided: Tensor) -> list[Image.Image]:
    """The two maps of a word on one scale."""
    cells = []
    for heat, how in ((free, "free"), (guided, "guided")):
        cell = heat_picture(heat, CELL, CELL, float(guided.max()))
        _write(cell, f"{word}, {how}", (CELL / 2, CELL - 14), 16, fill=(255, 255, 255), stroke=INK)
        cells.append(cell)
    return cells


def _row(caption: str, cells: Sequence[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (MARGIN + len(cells) * (CELL + GAP) - GAP, CELL), "white")
    font = ImageFont.load_default(16)
    ImageDraw.Draw(row).multiline_text((MARGIN - 14, CELL / 2), caption, INK, font, "rm", 6, "right")
    for index, cell in enumerate(cells):
        scaled = cell if cell.size == (CELL, CELL) else cell.resize((CELL, CELL), Image.Resampling.LANCZOS)
        row.paste(scaled, (MARGIN + index * (CELL + GAP), 0))
    return row


def _write(
    picture: Image.Image, text: str, center: tuple[float, float], size: int, fill: RGB, stroke: RGB | None = None
) -> None:
    ImageDraw.Draw(picture).text(
        center,
        text,
        fill=fill,
        font=ImageFont.load_default(size),
        anchor="mm",
        stroke_width=2 if stroke else 0,
        stroke_fill=stroke,
    )
