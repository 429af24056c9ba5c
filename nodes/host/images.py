"""The host's pictures and masks as the engine takes them, and the engine's pictures as the host takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...cones2.concepts.cutout import MAX_CUTOUTS, MAX_SIDE, CutOut, cut_out
from ...cones2.concepts.pictured import MAX_PICTURES
from ...cones2.errors import AdapterError, Cones2Error, LayoutError, ResidualError


def to_picture(image: Tensor, what: str) -> Image.Image:
    """The first picture of an IMAGE batch [B, H, W, C], values 0–1. Raises LayoutError for any other tensor, or NaN."""
    check_images(image, what)
    first = image[0].detach().cpu().float()
    if not torch.isfinite(first).all():
        raise LayoutError(f"{what} holds values that are not numbers (NaN or infinity)")
    pixels = (first.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def to_image(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as an IMAGE batch [B, H, W, 3], values 0–1."""
    arrays = [np.asarray(picture.convert("RGB"), dtype=np.float32) / 255 for picture in pictures]
    return torch.from_numpy(np.stack(arrays))


def to_masks(mask: Tensor, what: str) -> list[Tensor]:
    """MASK [H, W], [B, H, W] or [B, 1, H, W] as masks [H, W]. Raises LayoutError for any other tensor."""
    check_mask(mask, what)
    return list(mask.reshape(-1, *mask.shape[-2:]).cpu())


def to_cutouts(image: Tensor, mask: Tensor | None) -> tuple[CutOut, ...]:
    """The subject out of each picture of an IMAGE batch.

    mask: where it is (1) in each, or in all; None: as opaque as an RGBA picture is, or all of it.
    Raises ResidualError for tensors of other kinds, counts or sizes, more than six pictures, or an empty mask.
    """
    return _cutouts(image, mask, ("photo", "photo_mask"), MAX_CUTOUTS, ResidualError)


def to_references(image: Tensor, mask: Tensor | None) -> tuple[CutOut, ...]:
    """As `to_cutouts` for pictures that an image adapter reads: up to 16, none of which may hold NaN.

    Raises AdapterError.
    """
    if torch.is_tensor(image) and image.layout == torch.strided and not torch.isfinite(image).all():
        raise AdapterError("image holds values that are not numbers (NaN or infinity)")
    return _cutouts(image, mask, ("image", "mask"), MAX_PICTURES, AdapterError)


def _cutouts(
    image: Tensor, mask: Tensor | None, names: tuple[str, str], limit: int, error: type[Cones2Error]
) -> tuple[CutOut, ...]:
    """names: of the two inputs, for messages."""
    photo, photo_mask = names
    check_images(image, photo, error)
    pictures = image.movedim(-1, 1).cpu().float()
    color, alpha = pictures[:, :3].expand(-1, 3, -1, -1), pictures[:, 3:]
    masks = alpha[:, 0] if alpha.shape[1] else torch.ones(len(pictures), *pictures.shape[-2:])
    if mask is not None:
        check_mask(mask, photo_mask, error)
        masks = mask.reshape(-1, *mask.shape[-2:]).cpu().float()
    if len(masks) not in (1, len(pictures)) or masks.shape[-2:] != pictures.shape[-2:]:
        raise error(
            f"{photo_mask} is {tuple(masks.shape)} but {photo} has {len(pictures)} pictures of "
            f"{tuple(pictures.shape[-2:])}: give one mask of the same size for each, or one for all"
        )
    if len(pictures) > limit:
        raise error(f"{photo} has {len(pictures)} pictures: at most {limit} are taken")
    return tuple(
        cut_out(one, own, MAX_SIDE) for one, own in zip(color, masks.expand(len(pictures), -1, -1), strict=True)
    )


def check_images(image: Tensor, what: str, error: type[Cones2Error] = LayoutError) -> None:
    """Raise `error` unless this is an IMAGE batch [B, H, W, C] of at least one pixel."""
    _check_dense(image, what, error)
    if image.ndim != 4 or not image.numel():
        raise error(f"{what} has the shape {tuple(image.shape)}: expected (pictures, height, width, channels)")
    if image.shape[-1] not in (1, 3, 4):
        raise error(f"{what} has {image.shape[-1]} channels: expected 1 (gray), 3 (RGB) or 4 (RGB and opacity)")


def check_mask(mask: Tensor, what: str, error: type[Cones2Error] = LayoutError) -> None:
    """Raise `error` unless this is a MASK [..., H, W] of at least one cell."""
    _check_dense(mask, what, error)
    if mask.ndim < 2 or not mask.numel():
        raise error(f"{what} has the shape {tuple(mask.shape)}: expected (masks, height, width)")


def _check_dense(tensor: Tensor, what: str, error: type[Cones2Error]) -> None:
    if tensor.layout != torch.strided:
        raise error(f"{what} is a sparse tensor: this node needs a dense one")
