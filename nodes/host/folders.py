"""The model folder of residuals: which folders it consists of, what is in them, and names to save under."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

import folder_paths

from ...cones2.assets import DEMO, DEMO_RESIDUALS, demo_residual
from ...cones2.errors import Cones2Error, ResidualError
from ...cones2.messages import MESSAGE_LIMIT, shown
from ...cones2.storage.names import check_file_name

RESIDUAL_FOLDER = "residuals"
RESIDUAL_EXTENSIONS = {".safetensors", ".pt"}
_README = "put_residuals_here.txt"
_README_TEXT = "Residuals for ComfyUI-Cones2: .safetensors or .pt files, listed by the node Load Residual.\n"


def add_residual_folder() -> None:
    """Make `models/residuals` known and be there, beside roots that extra_model_paths.yaml has already added."""
    folder = os.path.join(folder_paths.models_dir, RESIDUAL_FOLDER)
    folder_paths.add_model_folder_path(RESIDUAL_FOLDER, folder)
    folder_paths.folder_names_and_paths[RESIDUAL_FOLDER][1].update(RESIDUAL_EXTENSIONS)
    if not os.path.isdir(folder):
        with suppress(OSError):  # models may be on a disk that nobody may write to
            os.makedirs(folder)
            Path(folder, _README).write_text(_README_TEXT, encoding="utf-8")


def residual_folders() -> list[Path]:
    """All folders that residuals are loaded from: the user's, in the first of which they are saved, and the demo's."""
    return [*_own_folders(), DEMO_RESIDUALS]


def residual_files() -> list[str]:
    """The residuals of all folders, as names inside them; those of the demo model come last, below "demo/"."""
    return list(dict.fromkeys([*folder_paths.get_filename_list(RESIDUAL_FOLDER), *_demo_files()]))


def file_stamp(file: Path) -> tuple[str, int, int] | None:
    """Path, modification time and size, to see whether a file has changed; None for one that has gone."""
    try:
        status = file.stat()
    except OSError:  # it was there a moment ago
        return None
    return str(file), status.st_mtime_ns, status.st_size


def find_model_file(folder: str, file: object) -> Path | None:
    """The path of a name inside one of the host's model folders; None for anything else."""
    if not isinstance(file, str):
        return None
    try:
        path = folder_paths.get_full_path(folder, file)
    except ValueError:  # on Windows, from a name on another drive
        return None
    return None if path is None else Path(path)


def missing_model_file(folder: str, what: str, file: object) -> str:
    """The sentence for a file that is absent from one of the host's model folders."""
    found = ", ".join(folder_paths.get_filename_list(folder)) or "no files"
    roots = ", ".join(folder_paths.get_folder_paths(folder))
    return shown(f'there is no {what} "{shown(file)}" in {roots}; found: {found}', MESSAGE_LIMIT)


def find_residual(file: object) -> Path | None:
    """The path of a name that `residual_files` lists, or of a file added since; None for anything else.

    The demo model's are also found without "demo/", as older workflows name them.
    """
    path = find_model_file(RESIDUAL_FOLDER, file)
    if path is not None or not isinstance(file, str):
        return path
    return next((demo_residual(name) for name in _demo_files() if file in (name, PurePosixPath(name).name)), None)


def missing_residual(file: object) -> str:
    """The sentence for an absent file. The demo model's residuals come with every install and are not listed."""
    own = ", ".join(folder_paths.get_filename_list(RESIDUAL_FOLDER)) or "no files"
    roots = ", ".join(map(str, _own_folders()))
    return shown(f'there is no residual "{shown(file)}" in {roots}; found: {own}', MESSAGE_LIMIT)


def _own_folders() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths(RESIDUAL_FOLDER)]


def _demo_files() -> list[str]:
    return [f"{DEMO}/{path.name}" for path in sorted(DEMO_RESIDUALS.glob("*.safetensors"))]


def residual_path(name: str, suffix: str = ".safetensors") -> Path:
    """Where a name is saved: inside the first residual folder, with this suffix.

    Folders that are links are followed, as they are when residuals are loaded. Raises ResidualError for a name
    that leads out of the folder or through a file, is too long, or that some operating system cannot store.
    """
    return path_inside(_own_folders()[0], name, ResidualError, suffix)


def path_inside(root: Path, name: str, error: type[Cones2Error], suffix: str = ".safetensors") -> Path:
    """As `residual_path`, for any folder and kind of error."""
    stem = name.strip().removesuffix(suffix).replace("\\", "/")
    inside = PurePosixPath(stem)
    if not inside.parts or inside.is_absolute() or ".." in inside.parts or stem.endswith("/"):
        raise error(f'"{shown(name)}" is not a name inside {root}: write for example "rex" or "pets/rex"')
    for part in inside.parts:
        check_file_name(part, error)
    path = root.joinpath(*inside.parent.parts, f"{inside.name}{suffix}")
    try:
        path.exists()
    except OSError as refused:  # longer than the file system allows
        raise error(f'nothing can be saved as "{shown(name)}": {refused.strerror}') from refused
    for folder in path.parents[: len(inside.parts) - 1]:
        if os.path.isfile(folder):
            raise error(f'nothing can be saved as "{shown(name)}": {folder} is a file, not a folder')
    return path
