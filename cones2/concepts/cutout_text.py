"""Cut-outs as the text of a residual file's metadata: small pictures in base64, with spaces between them."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, features

from ..errors import Cones2Error
from ..storage.images import read_transparent
from .cutout import MAX_CUTOUTS, MAX_SIDE, STORED_SIDE, CutOut, cut_out

CUTOUTS_KEY = "cutouts"
"""Key of a residual file's metadata that holds them."""

MAX_TEXT = 1 << 20
"""Characters of all cut-outs of a file."""

_LARGE_PNG = 8 << 10  # bytes; small and flat pictures are smaller as PNG, and lose nothing
_QUALITY = 90
_MAX_SIDE = 512  # pixels that are read; more than is written, for files of later versions


def write_cutouts(cutouts: Sequence[CutOut]) -> str:
    """The text of up to six cut-outs, each made smaller where it is larger than a file holds.

    Raises Cones2Error for more than six.
    """
    if len(cutouts) > MAX_CUTOUTS:
        raise Cones2Error(f"it has {len(cutouts)} cut-outs: at most {MAX_CUTOUTS} are kept")
    return " ".join(base64.b64encode(_packed(cutout)).decode("ascii") for cutout in cutouts)


def read_cutouts(text: str) -> tuple[CutOut, ...]:
    """The cut-outs of a text. Raises Cones2Error when one of them cannot be used, or there are too many."""
    if len(text) > MAX_TEXT:
        raise Cones2Error(f"they have {len(text):,} characters: at most {MAX_TEXT:,} are read")
    parts = text.split()
    if not 1 <= len(parts) <= MAX_CUTOUTS:
        raise Cones2Error(f"there are {len(parts)}: 1 to {MAX_CUTOUTS} are read")
    return tuple(_unpacked(part) for part in parts)


def cutout_png(cutout: CutOut) -> bytes:
    """A cut-out as a small PNG file, such as a page shows."""
    return _file(_picture(cutout), "PNG")


def transparent_cutout(picture: Image.Image) -> CutOut:
    """The cut-out of an RGBA picture; of all of it where nothing is transparent. Raises as `cut_out` does."""
    pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)
    return cut_out(pixels[:3], pixels[3], MAX_SIDE)


def _packed(cutout: CutOut) -> bytes:
    picture = _picture(cutout)
    content = _file(picture, "PNG", optimize=True)
    if len(content) > _LARGE_PNG and features.check("webp"):
        return _file(picture, "WEBP", quality=_QUALITY, method=6)
    return content


def _picture(cutout: CutOut) -> Image.Image:
    """Mode "RGBA", as large as a file holds it."""
    rgba = cutout.within(STORED_SIDE).rgba
    visible = torch.cat([rgba[:3] * (rgba[3:] > 0), rgba[3:]])  # hidden colors would only take space
    return Image.fromarray((visible * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _file(picture: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def _unpacked(text: str) -> CutOut:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Cones2Error("one is not base64") from error
    return transparent_cutout(read_transparent(content, _MAX_SIDE))
