"""PNG files that carry the settings they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..messages import encodable

MAX_SETTINGS = 1 << 20  # characters
_KEY = "cones2"


def write_png(picture: Image.Image, stream: BinaryIO, settings: Mapping[str, Any]) -> None:
    """Save as PNG with the settings as JSON in the text chunk "cones2"."""
    text = json.dumps(settings, ensure_ascii=False)
    info = PngInfo()
    info.add_itxt(_KEY, encodable(text))  # the escape of a lone surrogate is JSON's own
    picture.save(stream, "PNG", pnginfo=info)


def read_settings(picture: Image.Image) -> dict[str, Any]:
    """The settings a PNG carries; empty when it carries none, or something else under their name."""
    text = picture.info.get(_KEY)
    if not isinstance(text, str) or len(text) > MAX_SETTINGS:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def settings_of(path: Path) -> dict[str, Any]:
    """The settings that a file carries; empty for one that is not a PNG file of ours."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return read_settings(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return {}
