"""Photos and a config to begin with, in ComfyUI's input folder, where the pack's templates find them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import folder_paths

from ...cones2.errors import Cones2Error
from ...cones2.storage.files import write_atomically

_PACK = Path(__file__).parents[2]
_FOLDER = "cones2/demo"
_MARKER = ".copied"  # in that folder, once all samples are there
_PHOTOS = _PACK / "workflows" / "assets" / "photos"
_DEMO = _PACK / "workflows" / "assets" / "demo"
# Load Image lists the top of the folder only; its first choice stays the host's own "example.png".
SAMPLES = {
    **{f"sample_dog_photo_{number}.jpg": _PHOTOS / f"dog_photo_{number}.jpg" for number in (1, 2, 3)},
    **{f"sample_toy_dog_{number}.png": _DEMO / f"toy_dog_{number}.png" for number in (1, 2, 3)},
    **{f"{_FOLDER}/{name}": _DEMO / name for name in ("guidance_config.json", "layout.png")},
}


def add_samples() -> None:
    """Copy the samples, once: whoever deletes one keeps it deleted as long as the folder `cones2/demo` is there.

    A copy that was interrupted is completed.
    """
    root = Path(folder_paths.get_input_directory())
    marker, last = root / _FOLDER / _MARKER, root / next(reversed(SAMPLES))
    if marker.exists():
        return
    with suppress(OSError, Cones2Error):  # the folder may be read-only; the templates then ask for their pictures
        for name, source in SAMPLES.items() if not last.exists() else ():  # earlier versions wrote no marker
            if not (root / name).exists():
                _copy(source, root / name)
        marker.touch()


def _copy(source: Path, target: Path) -> None:
    content = source.read_bytes()
    write_atomically(target, lambda stream: stream.write(content))
