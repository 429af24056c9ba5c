"""Folders of photos inside the host's input folder."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import folder_paths

from ...cones2.errors import ConfigError
from ...cones2.messages import MESSAGE_LIMIT, listed, shown
from ...cones2.training.concepts import ClassPhoto, load_class_photos
from ...cones2.training.views import SUFFIXES, Photo, load_photos
from .folders import file_stamp

NO_FOLDER = "(none)"
"""What a list of folders has for none of them."""

_MOST_FOLDERS = 1000  # that are listed
_MOST_PHOTOS = 100  # of one folder
_MOST_CLASS_PHOTOS = 1000


def photo_folders() -> list[str]:
    """NO_FOLDER and the folders that have pictures in them, as paths inside the input folder."""
    root = _root()
    found = (Path(folder).relative_to(root).as_posix() for folder, _, files in os.walk(root) if _pictures(files))
    return [NO_FOLDER, *sorted(name for name in islice(found, _MOST_FOLDERS) if name != ".")]


def folder_photos(name: str) -> list[Photo]:
    """The photos of a folder; none for NO_FOLDER. Raises ConfigError for any other name and for too many pictures."""
    if name == NO_FOLDER:
        return []
    folder = _folder(name)
    count = len(_pictures(os.listdir(folder)))
    if count > _MOST_PHOTOS:
        raise ConfigError(f"the folder {shown(name)} has {count} pictures: 3 to 6 of the subject are enough")
    return load_photos(folder)


def class_folder_photos(name: str, class_word: str, side: int) -> list[ClassPhoto]:
    """The pictures of a class in a folder, with their captions, for training at `side` pixels; none for NO_FOLDER.

    Raises ConfigError as `folder_photos` does.
    """
    if name == NO_FOLDER:
        return []
    folder = _folder(name)
    count = len(_pictures(os.listdir(folder)))
    if count > _MOST_CLASS_PHOTOS:
        raise ConfigError(f"the folder {shown(name)} has {count} pictures: 100 to 200 of the class are enough")
    return load_class_photos(folder, class_word, side)


def folder_stamps(name: object) -> list[tuple[str, int, int]]:
    """Name, time and size of each file of a folder, to see whether one has changed."""
    if not isinstance(name, str) or name == NO_FOLDER:
        return []
    try:
        folder = _folder(name)
    except ConfigError:
        return []
    return [stamp for path in sorted(folder.iterdir()) if (stamp := file_stamp(path))]


def wrong_folder(name: object) -> str:
    """What is wrong with a folder's name, in one sentence; empty when nothing is, or when it is linked (None)."""
    try:
        if name not in (None, NO_FOLDER):
            _folder(name)
    except ConfigError as error:
        return str(error)
    return ""


def _folder(name: object) -> Path:
    """The folder of a name that `photo_folders` lists, or of one added since. Never one outside the input folder."""
    root = _root()
    try:
        folder = Path(root, str(name)).resolve()
        if folder.is_relative_to(root) and folder != root and folder.is_dir():
            return folder
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links in a circle
        pass
    known = listed(photo_folders()[1:], 12)
    raise ConfigError(shown(f'there is no folder "{shown(name)}" in {root}; with pictures: {known}', MESSAGE_LIMIT))


def _root() -> Path:
    return Path(folder_paths.get_input_directory()).resolve()


def _pictures(files: list[str]) -> list[str]:
    return [file for file in files if not file.startswith(".") and file.lower().endswith(SUFFIXES)]
