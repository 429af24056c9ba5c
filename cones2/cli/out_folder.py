"""The pictures of `sample` on the disk: no name is taken twice, and finished ones are found again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import Cones2Error
from ..storage.files import shown_path, write_atomically
from ..storage.images import MAX_FILE_BYTES
from ..storage.png import settings_of, write_png

_CHUNK = 1 << 20


class OutFolder:
    """A folder of PNG files that carry their settings."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, name: str, settings: Mapping[str, Any]) -> Path | None:
        """The picture of this name, or of this name with a number, that was made with the settings."""
        wanted = json.loads(json.dumps(settings))
        return next((path for path in self._taken(name) if settings_of(path) == wanted), None)

    def save(self, name: str, picture: Image.Image, settings: Mapping[str, Any]) -> Path:
        """Write a picture under the first free name, so that earlier results stay."""
        path = self._path(name, len(list(self._taken(name))))
        write_atomically(path, lambda stream: write_png(picture, stream, settings))
        return path

    def save_once(self, name: str, picture: Image.Image, settings: Mapping[str, Any]) -> Path:
        """The same, but in place of a picture of this name with these settings."""
        path = self.find(name, settings)
        if path is None:
            return self.save(name, picture, settings)
        write_atomically(path, lambda stream: write_png(picture, stream, settings), overwrite=True)
        return path

    def _taken(self, name: str) -> Iterator[Path]:
        number = 0
        while (path := self._path(name, number)).exists():
            yield path
            number += 1

    def _path(self, name: str, number: int) -> Path:
        return self.path / (f"{name}_{number + 1}.png" if number else f"{name}.png")


def digest_of(files: Sequence[Path]) -> str:
    """16 hex digits of the files' contents, in their order. Raises Cones2Error naming one that cannot be read."""
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        if not path.is_file():
            raise Cones2Error(f"{shown_path(path)} is not a file")
        try:
            with path.open("rb") as stream:
                digest.update(b"%d|" % os.fstat(stream.fileno()).st_size)
                left = MAX_FILE_BYTES  # what is larger is refused when it is opened as a picture or residual
                while left > 0 and (part := stream.read(min(_CHUNK, left))):
                    digest.update(part)
                    left -= len(part)
        except OSError as error:
            raise Cones2Error(f"{shown_path(path)} cannot be read: {error.strerror}") from error
        digest.update(b"|")
    return digest.hexdigest()
