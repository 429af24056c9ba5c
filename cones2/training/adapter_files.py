"""The picture files that an image adapter learns from: opened as training does, and all checked before it begins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from ..concepts.cutout import CutOut
from ..concepts.cutout_text import transparent_cutout
from ..errors import Cones2Error, ConfigError
from ..messages import shown
from ..storage.files import read_limited
from ..storage.images import MAX_FILE_BYTES, open_cutout_picture, open_mask, open_photo
from .adapter_data import LABELS, LabeledPicture

OnChecked = Callable[[int, int], object]
"""Told how many pictures are checked, and of how many."""

_CUTOUT_SIDE = 512  # pixels
_READ_SIDE = 4 * _CUTOUT_SIDE  # pixels of the longer side; more would only take memory
_VISIBLE, _SOLID = 26, 128  # of 255: from which a pixel counts, and which some pixel must reach, as `cut_out` has them


def check_files(pictures: Sequence[LabeledPicture], on_checked: OnChecked = lambda checked, count: None) -> str:
    """Open every file once: a digest of their contents, to refuse continuing a run on others.

    Raises ConfigError naming the line of the first file that training could not use.
    """
    together, known = hashlib.blake2b(digest_size=16), dict[Path, bytes]()
    for checked, picture in enumerate(pictures, 1):
        try:
            _check(picture, known)
        except Cones2Error as error:
            raise ConfigError(f"{LABELS}, line {picture.line}: {error}") from error
        for path in picture.files:
            together.update(known[path])
        on_checked(checked, len(pictures))
    return together.hexdigest()


def cut_by_mask(photo: Image.Image, path: Path) -> CutOut:
    """The subject out of its RGB photo, by the mask in a file.

    Raises ConfigError for a mask that cannot be read or has nothing white in it.
    """
    mask = open_mask(path).resize(photo.size, Image.Resampling.BILINEAR)
    bounds = _bounds(mask, f"the mask {shown(path.name)} is empty: it has no white")
    cut = photo.crop(bounds)
    cut.putalpha(mask.crop(bounds))
    return _small(cut, path)


def open_reference(path: Path) -> CutOut:
    """A picture of one thing; of all of it where nothing is transparent.

    Raises ConfigError for a file that cannot be read or shows nothing.
    """
    picture = open_cutout_picture(path)
    bounds = _bounds(picture.getchannel("A"), f"the reference {shown(path.name)} is empty: all of it is transparent")
    return _small(picture.crop(bounds), path)


def _check(picture: LabeledPicture, known: dict[Path, bytes]) -> None:
    """Open what is not known yet as training will, and remember the digests of its files."""
    photo = open_photo(picture.path)
    for one in picture.objects:
        if one.mask is not None:
            cut_by_mask(photo, one.mask)
        for reference in one.references:
            if reference not in known:
                open_reference(reference)
                known[reference] = _digest(reference)
    for path in picture.files:
        if path not in known:
            known[path] = _digest(path)


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(read_limited(path, MAX_FILE_BYTES, "picture"), digest_size=16).digest()


def _bounds(opacity: Image.Image, problem: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is visible. Raises ConfigError with the problem for nothing."""
    bounds = opacity.point([255 * (value >= _VISIBLE) for value in range(256)]).getbbox()
    if bounds is None or _most(opacity) < _SOLID:
        raise ConfigError(problem)
    return bounds


def _most(opacity: Image.Image) -> int:
    return max(value for value, count in enumerate(opacity.histogram()) if count)


def _small(picture: Image.Image, path: Path) -> CutOut:
    """The cut-out of an RGBA picture, which is made smaller while its pixels are bytes still.

    Pillow scales colors in proportion to the opacity, so that no color of what was around the subject comes in.
    """
    scale = _READ_SIDE / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        opacity = picture.getchannel("A")
        if 0 < (most := _most(opacity)) < _SOLID:  # a subject thinner than a pixel stays visible
            picture.putalpha(opacity.point([min(255, 255 * value // most) for value in range(256)]))
    try:
        return transparent_cutout(picture).within(_CUTOUT_SIDE)
    except Cones2Error as error:
        raise ConfigError(f"{shown(path.name)}: {error}") from error
