"""The model folder of residuals."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...cones2.assets import TOYWORLD
from ...cones2.errors import ResidualError

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


def residual_path(name: str) -> Path:
    """Where a name is saved: inside the first residual folder, always .safetensors."""
    root = Path(folder_paths.get_folder_paths(RESIDUAL_FOLDER)[0]).resolve()
    stem = name.strip().removesuffix(".safetensors")
    path = (root / f"{stem}.safetensors").resolve()
    if not stem or stem.endswith(("/", "\\")) or not path.is_relative_to(root):
        raise ResidualError(f'"{name}" is not a name inside {root}: write for example "rex" or "pets/rex"')
    return path


def _missing(file: str) -> str:
    """The sentence for an absent file; the demo model's residuals are everybody's and not listed."""
    shipped = {path.name for path in DEMO_RESIDUALS.glob("*")}
    own = [name for name in folder_paths.get_filename_list(RESIDUAL_FOLDER) if name not in shipped]
    roots = [root for root in folder_paths.get_folder_paths(RESIDUAL_FOLDER) if Path(root) != DEMO_RESIDUALS]
    return f'there is no residual "{file}" in {", ".join(roots)}; found: {", ".join(own) or "no files"}'
