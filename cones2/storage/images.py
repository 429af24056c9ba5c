"""Pictures from strangers: opened with limits, without starting programs, and brought to plain RGB."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import Cones2Error, ConfigError, LayoutError
from ..messages import shown
from .files import read_limited

MAX_FILE_BYTES = 256_000_000
MAX_PIXELS = 100_000_000
_WHITE = (255, 255, 255)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # others, such as EPS, make Pillow start programs


def open_layout_picture(path: Path) -> Image.Image:
    """A layout picture of any mode, its pixels as stored: a layout is painted, so no orientation is applied.

    Raises LayoutError when the file is not a PNG, JPEG, WebP, BMP, GIF or TIFF picture, or is damaged or
    too large; Cones2Error when it is missing.
    """
    return _open(path, "layout picture", LayoutError)


def open_photo(path: Path) -> Image.Image:
    """A photo as RGB: EXIF orientation applied, transparency on white, first frame only.

    Raises ConfigError naming the file when it is not a readable picture, Cones2Error when it is missing.
    """
    return _open(path, "photo", ConfigError, lambda picture: to_rgb(ImageOps.exif_transpose(picture)))


def open_mask(path: Path) -> Image.Image:
    """A mask as mode "L": EXIF orientation applied, transparency ignored. Raises as `open_photo` does."""
    return _open(path, "mask", ConfigError, lambda picture: _gray(ImageOps.exif_transpose(picture)))


def open_cutout_picture(path: Path) -> Image.Image:
    """A picture as RGBA, EXIF orientation applied; without transparency it is opaque. Raises as `open_photo` does."""
    return _open(path, "cut-out", ConfigError, lambda picture: _to_rgba(ImageOps.exif_transpose(picture)))


def read_transparent(content: bytes, longest: int) -> Image.Image:
    """A PNG or WebP picture as RGBA, of at most `longest` pixels a side.

    Raises Cones2Error when it is something else, larger, animated or damaged; nothing is decoded before that is known.
    """
    try:
        picture = _opened(content, ("PNG", "WEBP"))
        if max(picture.size) > longest or getattr(picture, "n_frames", 1) > 1:
            raise Cones2Error(f"it is {picture.width} × {picture.height}: one picture of up to {longest} is read")
        picture.load()
        return picture.convert("RGBA")
    except Cones2Error:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged pictures, and for bombs
        raise Cones2Error(f"it is not a readable picture: {shown(error)}") from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any Pillow picture as RGB: transparency is composited on white, 16-bit grays are scaled down."""
    if _is_deep(picture):
        rgb, clear = _to_eight_bits(picture).convert("RGB"), picture.info.get("transparency")
        if isinstance(clear, int):  # one gray is transparent; Pillow would clip the others to white
            rgb.paste(_WHITE, mask=Image.fromarray(np.asarray(picture) == clear))
        return rgb
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (*_WHITE, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def _open(
    path: Path,
    what: str,
    kind: type[Cones2Error],
    convert: Callable[[Image.Image], Image.Image] = lambda picture: picture,
) -> Image.Image:
    """The decoded, converted picture; every problem with its content becomes one sentence of the given kind."""
    content = read_limited(path, MAX_FILE_BYTES, what)
    name = shown(path.name)
    try:
        picture = _opened(content, _FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise kind(f"the {what} {name} is {picture.width} × {picture.height}: {MAX_PIXELS:,} pixels are the limit")
        picture.load()
        return convert(picture)
    except Cones2Error:
        raise
    except UnidentifiedImageError as error:
        raise kind(f"{name} is not a readable picture: none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow raises many kinds for damaged pictures
        raise kind(f"{name} is not a readable picture: {shown(error)}") from error


def _opened(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The picture, not decoded yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the caller's limit decides
        return Image.open(io.BytesIO(content), formats=formats)


def _to_rgba(picture: Image.Image) -> Image.Image:
    return to_rgb(picture).convert("RGBA") if _is_deep(picture) else picture.convert("RGBA")


def _gray(picture: Image.Image) -> Image.Image:
    if _is_deep(picture):
        return _to_eight_bits(picture)
    # the lightness of LAB pictures is their first channel; Pillow does not convert them
    return picture.getchannel("L") if picture.mode == "LAB" else picture.convert("L")


def _is_deep(picture: Image.Image) -> bool:
    """Whether its grays have 16 or 32 bits."""
    return picture.mode.startswith(("I", "F"))


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Grays of 16 or 32 bits scaled down to 8; Pillow's own conversion would clip them."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    top = 65535.0 if values.max() > 255 else 255.0
    return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
