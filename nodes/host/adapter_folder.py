"""The model folder of image adapters, which IPAdapter packs have too."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...cones2.picture_adapter.adapter_file import SUFFIXES
from .folders import find_model_file, missing_model_file

ADAPTER_FOLDER = "ipadapter"


def add_adapter_folder() -> None:
    """Make `models/ipadapter` known, beside roots that other packs or extra_model_paths.yaml have added."""
    folder_paths.add_model_folder_path(ADAPTER_FOLDER, os.path.join(folder_paths.models_dir, ADAPTER_FOLDER))
    folder_paths.folder_names_and_paths[ADAPTER_FOLDER][1].update(SUFFIXES)


def adapter_files() -> list[str]:
    """The adapters of all folders, as names inside them."""
    return list(folder_paths.get_filename_list(ADAPTER_FOLDER))


def find_adapter(file: object) -> Path | None:
    """The path of a name that `adapter_files` lists; None for anything else."""
    return find_model_file(ADAPTER_FOLDER, file)


def missing_adapter(file: object) -> str:
    """The sentence for an absent file."""
    return missing_model_file(ADAPTER_FOLDER, "adapter", file)
