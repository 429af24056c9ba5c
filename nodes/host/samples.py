"""Photos and a config to begin with, in ComfyUI's input folder, where the pack's templates find them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import folder_paths

_PACK = Path(__file__).parents[2]
_FOLDER = "cones2/demo"
_PHOTOS = _PACK / "workflows" / "assets" / "photos"
_DEMO = _PACK / "workflows" / "assets" / "demo"
# Load Image lists the top of the folder only; its first choice stays the host's own "example.png".
SAMPLES = {
    **{f"sample_dog_photo_{number}.jpg": _PHOTOS / f"dog_photo_{number}.jpg" for number in (1, 2, 3)},
    **{f"sample_toy_dog_{number}.png": _DEMO / f"toy_dog_{number}.png" for number in (1, 2, 3)},
    **{f"{_FOLDER}/{name}": _DEMO / name for name in ("guidance_config.json", "layout.png")},
}


def add_samples() -> None:
    """Copy the samples, once: whoever deletes one keeps it deleted as long as the folder `cones2/demo` is there."""
    root = Path(folder_paths.get_input_directory())
    if (root / _FOLDER).exists():
        return
    with suppress(OSError):  # the folder may be read-only; the templates then ask for their pictures
        for name, source in SAMPLES.items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copyfile(source, target)
