"""The model folder of residuals: which folders it consists of, what is in them, and names to save under."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import folder_paths

from ...cones2.assets import TOYWORLD
from ...cones2.errors import ResidualError
from ...cones2.messages import MESSAGE_LIMIT, shown
from ...cones2.storage.names import check_file_name

RESIDUAL_FOLDER = "residuals"
RESIDUAL_EXTENSIONS = {".safetensors", ".pt"}
DEMO_RESIDUALS = TOYWORLD / "residuals"


def add_residual_folder() -> None:
    """Make `models/residuals` known, beside roots that extra_model_paths.yaml has already added.

    The demo model's residuals come last: a user's file of the same name wins, and none is saved among them.
    """
    for folder in (os.path.join(folder_paths.models_dir, RESIDUAL_FOLDER), str(DEMO_RESIDUALS)):
        folder_paths.add_model_folder_path(RESIDUAL_FOLDER, folder)
    folder_paths.folder_names_and_paths[RESIDUAL_FOLDER][1].update(RESIDUAL_EXTENSIONS)


def residual_folders() -> list[Path]:
    """All folders that residuals are loaded from; they are saved in the first."""
    return [Path(folder) for folder in folder_paths.get_folder_paths(RESIDUAL_FOLDER)]


def residual_files() -> list[str]:
    """The residuals of all folders, as names inside them."""
    names: list[str] = folder_paths.get_filename_list(RESIDUAL_FOLDER)
    return names


def find_residual(file: object) -> Path | None:
    """The path of a name that `residual_files` lists, or of a file added since; None for anything else."""
    path = folder_paths.get_full_path(RESIDUAL_FOLDER, file) if isinstance(file, str) else None
    return None if path is None else Path(path)


def missing_residual(file: object) -> str:
    """The sentence for an absent file. The demo model's residuals come with every install and are not listed."""
    shipped = {path.name for path in DEMO_RESIDUALS.glob("*")}
    own = ", ".join(name for name in residual_files() if name not in shipped) or "no files"
    roots = ", ".join(str(folder) for folder in residual_folders() if folder != DEMO_RESIDUALS)
    return shown(f'there is no residual "{shown(file)}" in {roots}; found: {own}', MESSAGE_LIMIT)


def residual_path(name: str) -> Path:
    """Where a name is saved: inside the first residual folder, always as .safetensors.

    Folders that are links are followed, as they are when residuals are loaded. Raises ResidualError for a name
    that leads out of the folder or through a file, is too long, or that some operating system cannot store.
    """
    root = residual_folders()[0]
    stem = name.strip().removesuffix(".safetensors").replace("\\", "/")
    inside = PurePosixPath(stem)
    if not inside.parts or inside.is_absolute() or ".." in inside.parts or stem.endswith("/"):
        raise ResidualError(f'"{shown(name)}" is not a name inside {root}: write for example "rex" or "pets/rex"')
    for part in inside.parts:
        check_file_name(part, ResidualError)
    path = root.joinpath(*inside.parent.parts, f"{inside.name}.safetensors")
    try:
        path.exists()
    except OSError as error:  # longer than the file system allows
        raise ResidualError(f'nothing can be saved as "{shown(name)}": {error.strerror}') from error
    for folder in path.parents[: len(inside.parts) - 1]:
        if os.path.isfile(folder):
            raise ResidualError(f'nothing can be saved as "{shown(name)}": {folder} is a file, not a folder')
    return path
