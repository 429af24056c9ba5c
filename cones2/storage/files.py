"""Reading files from others and writing our own without ever leaving a half-written one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import Cones2Error
from ..messages import MESSAGE_LIMIT, listed, shown


def shown_path(path: Path | str) -> str:
    """The path as messages show it: printable, on one line, and short enough to leave room for the rest."""
    return shown(path, MESSAGE_LIMIT // 2)


def read_limited(path: Path | str, limit: int, what: str, suffixes: Sequence[str] = ()) -> bytes:
    """The content of a file of at most `limit` bytes; `what` names its kind in messages.

    suffixes: of the files to name when this one is missing; by default its own.
    Raises Cones2Error when it is missing (naming its folder's files), not a regular file, or larger.
    """
    path, name = find_file(path, what, suffixes), shown_path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(min(limit, os.fstat(stream.fileno()).st_size) + 1)
    except OSError as error:
        raise Cones2Error(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise Cones2Error(f"{name} is larger than {limit:,} bytes, the most a {what} may have")
    return content


def find_file(path: Path | str, what: str, suffixes: Sequence[str] = ()) -> Path:
    """The path, if a regular file is there. Arguments and errors as of `read_limited`."""
    path, name = Path(path), shown_path(path)
    try:
        if not path.exists():
            raise Cones2Error(f"there is no {what} at {name}; {_neighbors(path, suffixes or (path.suffix,))}")
        if not path.is_file():
            raise Cones2Error(f"{name} is not a file but should be a {what}")
    except OSError as error:
        raise Cones2Error(f"{name} cannot be read: {error.strerror}") from error
    return path


def is_folder(path: Path) -> bool:
    """Whether a folder is there: not where the system does not even take the name, or does not let us look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def write_atomically(path: Path | str, write: Callable[[BinaryIO], object], overwrite: bool = False) -> None:
    """Write a file beside its destination, then move it there, so that readers see all of it or nothing.

    Creates the folder. Raises Cones2Error when the file exists (unless `overwrite`) or the disk refuses.
    """
    path, name = Path(path), shown_path(path)
    temporary = None
    try:
        if path.exists() and not overwrite:
            raise Cones2Error(f"{name} exists already and is left as it is")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            write(cast(BinaryIO, stream))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        _move(temporary, path, overwrite)
    except OSError as error:
        raise Cones2Error(f"{name} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_folder(folder: Path | str) -> None:
    """Raise Cones2Error when files cannot be written to the folder. One that is not there yet is not left there."""
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"0")  # a full disk still takes empty files
    except OSError as error:
        raise Cones2Error(f"{shown_path(folder)} cannot be written: {error.strerror or error}") from error
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()


def remove(path: Path) -> None:
    """Delete a file if it is there. Raises Cones2Error when the system refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Cones2Error(f"{shown_path(path)} cannot be deleted: {error.strerror or error}") from error


def _move(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # fails when another writer was faster, unlike a rename
    except FileExistsError:
        raise Cones2Error(f"{shown_path(path)} exists already and is left as it is") from None
    except OSError:  # a file system without hard links
        temporary.replace(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _neighbors(path: Path, suffixes: Sequence[str]) -> str:
    if not path.parent.is_dir():
        return f"its folder {shown_path(path.parent)} does not exist"
    names = sorted(child.name for child in path.parent.iterdir() if child.suffix in suffixes)
    if not names:
        return f"the folder {shown_path(path.parent)} has no {' or '.join(filter(None, suffixes)) or 'such'} files"
    return f"the folder has {listed(names, 12)}"
