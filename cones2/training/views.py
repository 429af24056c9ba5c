"""Training photos: any size and kind in, views of the training resolution out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import Cones2Error, ConfigError
from ..layout.regions import Box
from ..messages import listed, shown
from ..storage.images import open_cutout_picture, open_mask, open_photo
from .draws import keyed_generator

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
EVERY_MASK_IS_EMPTY = (
    "no photo is usable: every mask is empty (a picture without transparency loads with an empty mask)"
)
_MIN_SIDE = 16  # pixels
_LONGEST = 20  # proportions of a photo: it is resized as a whole before it is cropped
_MAX_ASPECT = 2.0  # of the buckets


@dataclass(frozen=True)
class ViewSettings:
    """How photos become views. Raises ConfigError for a resolution or number of crops out of range.

    resolution: side of the square, or √area of the aspect buckets, in pixels.
    buckets: keep each photo's proportions (up to 2:1) instead of cropping a square.
    crops: random crops per photo that does not fit exactly, 1 to 64; 1 takes the center.
    flip: add each view mirrored.
    multiple: sides are multiples of this many pixels.
    seed: decides the random crops.
    """

    resolution: int
    buckets: bool = False
    crops: int = 4
    flip: bool = False
    multiple: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resolution < self.multiple or self.resolution % self.multiple:
            raise ConfigError(f"the resolution is {self.resolution}: it must be a multiple of {self.multiple} pixels")
        if not 1 <= self.crops <= 64:
            raise ConfigError(f"{self.crops} crops per photo: choose 1 to 64")


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and, optionally, where its subject is.

    name: file name, for messages; it also seeds the crops.
    picture: upright, mode "RGB".
    mask: mode "L", size of the picture, white on the subject; None: the whole picture is the subject.
    opacity: the same as the file's transparency says it, for recipes that need a mask; None: it is opaque.
    """

    name: str
    picture: Image.Image
    mask: Image.Image | None = None
    opacity: Image.Image | None = None

    @property
    def cover(self) -> Image.Image | None:
        """Where the subject is, by the mask, else by the transparency; None where nothing says it."""
        return self.mask if self.mask is not None else self.opacity


@dataclass(frozen=True, eq=False)
class View:
    """One training picture.

    name: name of its photo.
    pixels: [3, H, W] in −1 … 1.
    mask: [H, W] in 0 … 1, or None.
    time_ids: [6] float32: the photo's height and width, crop top and left, H and W.
    region: where the layout term keeps the subject, in fractions; None: train without the term.
    partner, partner_region: another thing in the picture, and where it is.
    """

    name: str
    pixels: Tensor
    mask: Tensor | None
    time_ids: Tensor
    region: Box | None = None
    partner: str = ""
    partner_region: Box | None = None


class _Crop(NamedTuple):
    """A part of the resized photo, mirrored after it is cut out."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool


def load_photos(
    folder: Path, masks: Path | None = None, kept: Callable[[Photo], Photo] = lambda photo: photo
) -> list[Photo]:
    """The photos of a folder, by name; `masks` holds a picture of the same stem for some or all.

    kept: what is kept of each one in memory, such as a smaller one.
    Unusable files are left out, and logged: pictures with the reason, all others in one line. Raises ConfigError
    when none is usable.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of photos")
    if masks is not None and not masks.is_dir():
        raise ConfigError(f"{masks} is not a folder of masks")
    photos, others = [], []
    for path in sorted(child for child in folder.iterdir() if not child.name.startswith(".")):
        try:
            photos.append(kept(_load_photo(path, masks)))
        except Cones2Error as error:
            if path.name.lower().endswith(SUFFIXES):
                log.warning("skipped: %s", error)
            else:
                others.append(path.name)
    if others:
        log.warning("skipped, not pictures: %s", listed(others))
    return _usable(photos, str(folder))


def photos_from_pixels(pixels: Tensor, masks: Tensor | None = None) -> list[Photo]:
    """Photos from a batch [B, H, W, 1, 3 or 4] and masks [B or 1, H, W] or [H, W], all 0 … 1.

    A fourth channel is opacity, laid on white. Masks of another size are resized.
    Raises ConfigError when no photo is usable, or numbers are not finite.
    """
    if masks is not None and masks.ndim == 2:
        masks = masks[None]
    for name, values in (("images", pixels), ("masks", masks)):
        if values is not None and not bool(torch.isfinite(values).all()):
            raise ConfigError(f"the {name} hold NaN or infinite values: the node before this one failed")
    if masks is not None and len(masks) not in (1, len(pixels)):
        raise ConfigError(f"{len(masks)} masks for {len(pixels)} images: give one for all or one for each")
    photos = []
    for index, image in enumerate(pixels):
        color = image[..., :3].expand(-1, -1, 3)
        if image.shape[-1] == 4:
            color = color * image[..., 3:] + 1 - image[..., 3:]
        picture = Image.fromarray(_bytes(color))
        mask, opacity = None, _opacity(Image.fromarray(_bytes(image[..., 3]))) if image.shape[-1] == 4 else None
        if masks is not None:
            mask = Image.fromarray(_bytes(masks[min(index, len(masks) - 1)]))
            mask = mask.resize(picture.size, Image.Resampling.BILINEAR)
        photos.append(Photo(f"image {index + 1}", picture, mask, opacity))
    return _usable(photos, "the images")


def make_views(photos: Iterable[Photo], settings: ViewSettings) -> list[View]:
    """All views of the photos: resized to cover the target size, cropped, optionally mirrored too.

    Views whose part of the mask is empty are left out with a warning. Raises ConfigError when no
    view is left.
    """
    views = [view for photo in photos for view in _views_of(photo, settings)]
    usable = [view for view in views if view.mask is None or float(view.mask.sum()) > 0]
    for name in sorted({view.name for view in views} - {view.name for view in usable}):
        log.warning("skipped: the mask of %s is empty", shown(name))
    if not usable:
        raise ConfigError(EVERY_MASK_IS_EMPTY)
    return usable


def bucket_size(width: int, height: int, settings: ViewSettings) -> tuple[int, int]:
    """(width, height) of the view: the square, or the bucket of the nearest proportions.

    Buckets have sides that are multiples of `multiple`, at most the square's area, and at most 2:1.
    """
    if not settings.buckets:
        return settings.resolution, settings.resolution
    aspect = math.log(min(max(width / height, 1 / _MAX_ASPECT), _MAX_ASPECT))

    def badness(size: tuple[int, int]) -> tuple[float, int]:
        return abs(math.log(size[0] / size[1]) - aspect), -size[0] * size[1]

    return min(_bucket_sizes(settings), key=badness)


def _bucket_sizes(settings: ViewSettings) -> list[tuple[int, int]]:
    step, area = settings.multiple, settings.resolution**2
    sides = range(step, int(settings.resolution * math.sqrt(_MAX_ASPECT)) + 1, step)
    widest = [(side, area // side // step * step) for side in sides]
    fitting = [size for size in widest if 0 < max(size) <= _MAX_ASPECT * min(size)]
    return sorted({*fitting, *((height, width) for width, height in fitting)})


def _load_photo(path: Path, masks: Path | None) -> Photo:
    if path.is_dir() or path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{shown(path.name)} is not a picture ({', '.join(SUFFIXES)})")
    picture = open_photo(path)
    name, short, long = shown(path.name), min(picture.size), max(picture.size)
    if short < _MIN_SIDE:
        raise ConfigError(f"{name} has {picture.width} × {picture.height} pixels: each side needs at least {_MIN_SIDE}")
    if long > _LONGEST * short:
        raise ConfigError(f"{name} has {picture.width} × {picture.height} pixels: at most {_LONGEST} to 1 is usable")
    opacity = _opacity(open_cutout_picture(path).getchannel("A"))
    return Photo(path.name, picture, _mask_of(path, masks, picture.size), opacity)


def _opacity(alpha: Image.Image) -> Image.Image | None:
    """Mode "L"; None where everything is opaque, or nothing."""
    values = np.asarray(alpha)
    return alpha if values.min() < 255 and values.max() > 127 else None


def _views_of(photo: Photo, settings: ViewSettings) -> list[View]:
    width, height = bucket_size(*photo.picture.size, settings)
    scale = max(width / photo.picture.width, height / photo.picture.height)
    resized = (max(width, round(photo.picture.width * scale)), max(height, round(photo.picture.height * scale)))
    picture = photo.picture.resize(resized, Image.Resampling.BICUBIC)
    mask = None if photo.mask is None else photo.mask.resize(resized, Image.Resampling.BILINEAR)
    return [
        _view(photo, picture, mask, _Crop(left, top, width, height, mirrored))
        for left, top in _crop_corners(photo.name, resized, (width, height), settings)
        for mirrored in ((False, True) if settings.flip else (False,))
    ]


def _view(photo: Photo, picture: Image.Image, mask: Image.Image | None, crop: _Crop) -> View:
    """The crop of a resized photo and its mask."""
    pixels = torch.from_numpy(_cut_out(picture, crop)).permute(2, 0, 1) / 127.5 - 1
    inside = None if mask is None else torch.from_numpy(_cut_out(mask, crop)) / 255
    # a mirrored view is a crop of the mirrored photo
    left = picture.width - crop.left - crop.width if crop.mirrored else crop.left
    time_ids = (photo.picture.height, photo.picture.width, crop.top, left, crop.height, crop.width)
    return View(photo.name, pixels.contiguous(), inside, torch.tensor(time_ids, dtype=torch.float32))


def _cut_out(picture: Image.Image, crop: _Crop) -> NDArray[np.float32]:
    part = picture.crop((crop.left, crop.top, crop.left + crop.width, crop.top + crop.height))
    return np.array(ImageOps.mirror(part) if crop.mirrored else part, dtype=np.float32)


def _crop_corners(
    name: str, resized: tuple[int, int], target: tuple[int, int], settings: ViewSettings
) -> list[tuple[int, int]]:
    spare = (resized[0] - target[0], resized[1] - target[1])
    if settings.crops == 1 or spare == (0, 0):
        return [(spare[0] // 2, spare[1] // 2)]
    draws = torch.rand((settings.crops, 2), generator=keyed_generator(settings.seed, "crop", name))
    corners = [(round(float(x) * spare[0]), round(float(y) * spare[1])) for x, y in draws]
    return list(dict.fromkeys(corners))


def _mask_of(path: Path, masks: Path | None, size: tuple[int, int]) -> Image.Image | None:
    """The mask of the photo at `path`, resized to the photo's (width, height)."""
    if masks is None:
        return None
    found = [masks / f"{path.stem}{suffix}" for suffix in SUFFIXES if (masks / f"{path.stem}{suffix}").is_file()]
    if not found:
        log.warning("%s has no mask in %s: its whole picture is learned", shown(path.name), shown(masks))
        return None
    return open_mask(found[0]).resize(size, Image.Resampling.BILINEAR)


def _usable(photos: Sequence[Photo], where: str) -> list[Photo]:
    if not photos:
        raise ConfigError(f"there is no usable photo in {where}: give 3 to 6 pictures of the subject")
    return list(photos)


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    return (values.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
