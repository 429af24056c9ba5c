"""The model folder of Custom Diffusion files: what is in it, and names to save under."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import folder_paths

from ...cones2.assets import DEMO, DEMO_DELTAS
from ...cones2.errors import DeltaError
from .folders import find_model_file, missing_model_file, path_inside

DELTA_FOLDER = "custom_diffusion"
DELTA_EXTENSIONS = {".safetensors", ".bin", ".ckpt", ".pt", ".pth"}
_README = "put_custom_diffusion_here.txt"
_README_TEXT = (
    "Custom Diffusion files for ComfyUI-Cones2: delta.bin, .ckpt or .safetensors, listed by the node Load Custom "
    "Diffusion.\n"
)


def add_delta_folder() -> None:
    """Make `models/custom_diffusion` known and be there, beside roots of extra_model_paths.yaml."""
    folder = os.path.join(folder_paths.models_dir, DELTA_FOLDER)
    folder_paths.add_model_folder_path(DELTA_FOLDER, folder)
    folder_paths.folder_names_and_paths[DELTA_FOLDER][1].update(DELTA_EXTENSIONS)
    if not os.path.isdir(folder):
        with suppress(OSError):  # models may be on a disk that nobody may write to
            os.makedirs(folder)
            Path(folder, _README).write_text(_README_TEXT, encoding="utf-8")


def delta_files() -> list[str]:
    """The files of all folders, as names inside them; the demo model's come last."""
    names: list[str] = folder_paths.get_filename_list(DELTA_FOLDER)
    return [*names, *_demo_files()]


def find_delta(file: object) -> Path | None:
    """The path of a name that `delta_files` lists, or of a file added since; None for anything else."""
    path = find_model_file(DELTA_FOLDER, file)
    return _demo_files().get(str(file)) if path is None else path


def _demo_files() -> dict[str, Path]:
    """The demo model's, as users see them: below "demo/"."""
    return {f"{DEMO}/{path.name}": path for path in sorted(DEMO_DELTAS.glob("*.safetensors"))}


def missing_delta(file: object) -> str:
    """The sentence for an absent file."""
    return missing_model_file(DELTA_FOLDER, "Custom Diffusion file", file)


def delta_path(name: str) -> Path:
    """Where a name is saved: inside the first folder, always as .safetensors. Raises DeltaError as for residuals."""
    return path_inside(Path(folder_paths.get_folder_paths(DELTA_FOLDER)[0]), name, DeltaError)
