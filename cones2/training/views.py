"""Training photos: any size and kind in, views of the training resolution out."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import Cones2Error, ConfigError
from ..storage.files import read_limited
from .draws import keyed_generator

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MAX_FILE_BYTES = 256 << 20
MAX_PIXELS = 100_000_000
_MIN_SIDE = 16
_MAX_ASPECT = 2.0


@dataclass(frozen=True)
class ViewSettings:
    """How photos become views.

    resolution: side of the square, or √area of the aspect buckets, in pixels. buckets: keep each
    photo's proportions (up to 2:1) instead of cropping a square. crops: random crops per photo where
    it does not fit exactly; 1: the center. flip: add each view mirrored. multiple: sides are
    multiples of this.
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
    """An upright RGB picture and, optionally, where its subject is (mode "L", same size)."""

    name: str
    picture: Image.Image
    mask: Image.Image | None = None


@dataclass(frozen=True, eq=False)
class View:
    """One training picture. pixels: [3, H, W] in −1 … 1. mask: [H, W] in 0 … 1 or None.

    size: SDXL's time ids [6]: the photo's height and width, crop top and left, H and W.
    """

    name: str
    pixels: Tensor
    mask: Tensor | None
    size: Tensor


def load_photos(folder: Path, masks: Path | None = None) -> list[Photo]:
    """The photos of a folder, by name; `masks` holds a picture of the same stem for some or all.

    Unusable files are logged with the reason and left out. Raises ConfigError when none is usable.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of photos")
    if masks is not None and not masks.is_dir():
        raise ConfigError(f"{masks} is not a folder of masks")
    photos = []
    for path in sorted(child for child in folder.iterdir() if not child.name.startswith(".")):
        try:
            photos.append(Photo(path.name, open_photo(path), _mask_of(path, masks)))
        except Cones2Error as error:
            log.warning("skipped: %s", error)
    return _usable(photos, str(folder))


def open_photo(path: Path) -> Image.Image:
    """An upright RGB picture: EXIF orientation applied, transparency laid on white, first frame only.

    Raises ConfigError naming the file when it is no readable picture.
    """
    picture = ImageOps.exif_transpose(_decoded(path))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return _to_eight_bits(picture).convert("RGB")


def photos_from_pixels(pixels: Tensor, masks: Tensor | None = None) -> list[Photo]:
    """Photos from a batch [B, H, W, 1, 3 or 4] and masks [B or 1, H, W] or [H, W], all 0 … 1.

    A fourth channel is opacity, laid on white. Masks of another size are resized.
    Raises ConfigError when no photo is usable, or numbers are not finite.
    """
    if masks is not None and masks.ndim == 2:
        masks = masks[None]
    for name, values in (("images", pixels), ("masks", masks)):
        if values is not None and not bool(torch.isfinite(values).all()):
            raise ConfigError(f"the {name} hold values that are no finite numbers: the node before this one failed")
    if masks is not None and len(masks) not in (1, len(pixels)):
        raise ConfigError(f"{len(masks)} masks for {len(pixels)} images: give one for all or one for each")
    photos = []
    for index, image in enumerate(pixels):
        color = image[..., :3].expand(-1, -1, 3)
        if image.shape[-1] == 4:
            color = color * image[..., 3:] + 1 - image[..., 3:]
        picture = Image.fromarray(_bytes(color))
        mask = None if masks is None else Image.fromarray(_bytes(masks[min(index, len(masks) - 1)]))
        mask = mask and mask.resize(picture.size, Image.Resampling.BILINEAR)
        photos.append(Photo(f"image {index + 1}", picture, mask))
    return _usable(photos, "the images")


def make_views(photos: Iterable[Photo], settings: ViewSettings) -> list[View]:
    """All views of the photos: resized to cover the target size, cropped, optionally mirrored too.

    Views whose part of the mask is empty are left out with a warning. Raises ConfigError when no
    view is left.
    """
    views = [view for photo in photos for view in _views_of(photo, settings)]
    usable = [view for view in views if view.mask is None or float(view.mask.sum()) > 0]
    for name in sorted({view.name for view in views} - {view.name for view in usable}):
        log.warning("skipped: the mask of %s is empty", name)
    if not usable:
        raise ConfigError(
            "none of the photos is usable: all their masks are empty (as those of pictures without transparency are)"
        )
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


def _views_of(photo: Photo, settings: ViewSettings) -> list[View]:
    width, height = bucket_size(*photo.picture.size, settings)
    scale = max(width / photo.picture.width, height / photo.picture.height)
    resized = (max(width, round(photo.picture.width * scale)), max(height, round(photo.picture.height * scale)))
    picture = photo.picture.resize(resized, Image.Resampling.BICUBIC)
    mask = photo.mask and photo.mask.resize(resized, Image.Resampling.BILINEAR)
    views = []
    for left, top in _crop_corners(photo.name, resized, (width, height), settings):
        box = (left, top, left + width, top + height)
        for mirrored in (False, True) if settings.flip else (False,):
            edge = _left(box, resized, mirrored)
            views.append(_view(photo, picture.crop(box), mask and mask.crop(box), mirrored, top, edge))
    return views


def _left(box: tuple[int, int, int, int], resized: tuple[int, int], mirrored: bool) -> int:
    """Left edge of a crop in the picture it is cut from, which is mirrored too for mirrored views."""
    return resized[0] - box[2] if mirrored else box[0]


def _view(photo: Photo, picture: Image.Image, mask: Image.Image | None, mirrored: bool, top: int, left: int) -> View:
    if mirrored:
        picture, mask = ImageOps.mirror(picture), mask and ImageOps.mirror(mask)
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
    inside = None if mask is None else torch.from_numpy(np.array(mask, dtype=np.float32)) / 255
    size = (photo.picture.height, photo.picture.width, top, left, picture.height, picture.width)
    return View(photo.name, pixels.contiguous(), inside, torch.tensor(size, dtype=torch.float32))


def _crop_corners(
    name: str, resized: tuple[int, int], target: tuple[int, int], settings: ViewSettings
) -> list[tuple[int, int]]:
    spare = (resized[0] - target[0], resized[1] - target[1])
    if settings.crops == 1 or spare == (0, 0):
        return [(spare[0] // 2, spare[1] // 2)]
    draws = torch.rand((settings.crops, 2), generator=keyed_generator(settings.seed, "crop", name))
    corners = [(round(float(x) * spare[0]), round(float(y) * spare[1])) for x, y in draws]
    return list(dict.fromkeys(corners))


def _decoded(path: Path) -> Image.Image:
    if path.is_dir() or path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path.name} is no picture ({', '.join(SUFFIXES)})")
    content = read_limited(path, MAX_FILE_BYTES, "picture")
    try:
        with Image.open(io.BytesIO(content)) as picture:
            size = f"{picture.width}x{picture.height}"
            if picture.width * picture.height > MAX_PIXELS:
                raise ConfigError(f"{path.name} has {size} pixels, more than {MAX_PIXELS:,}")
            if min(picture.size) < _MIN_SIDE:
                raise ConfigError(f"{path.name} has {size} pixels: each side needs at least {_MIN_SIDE}")
            picture.load()
            return picture
    except ConfigError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path.name} cannot be read as a picture: {error}") from error


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit gray pictures scaled down; Pillow's own conversion would clip them."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    top = 65535.0 if values.max() > 255 else 255.0
    return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))


def _mask_of(path: Path, masks: Path | None) -> Image.Image | None:
    if masks is None:
        return None
    found = [masks / f"{path.stem}{suffix}" for suffix in SUFFIXES if (masks / f"{path.stem}{suffix}").is_file()]
    if not found:
        log.warning("%s has no mask in %s: its whole picture is learned", path.name, masks)
        return None
    mask = ImageOps.exif_transpose(_decoded(found[0]))
    size = open_photo(path).size
    return _to_eight_bits(mask).convert("L").resize(size, Image.Resampling.BILINEAR)


def _usable(photos: Sequence[Photo], where: str) -> list[Photo]:
    if not photos:
        raise ConfigError(f"there is no usable photo in {where}: give 3 to 6 pictures of the subject")
    return list(photos)


def _bytes(values: Tensor) -> np.ndarray:
    return (values.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
