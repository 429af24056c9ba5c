"""Jobs that several processes share: whoever is free claims the next one.

A claim is a lock on one byte of a file in the folder of the results. The system gives it up when its holder ends,
however that happens: nothing needs to be cleaned up after a kill, and another process takes the job over.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..errors import ConfigError
from ..storage.files import shown_path
from .output import Rank, say

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

CLAIMS = ".claims"
"""The file with the locks; it is empty, and gone when all is done."""
_POLL = 0.5  # seconds
_POSITIONS = 1 << 31  # of locks; two jobs at one position are done by the same process
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)

Job = TypeVar("Job")


def turns(
    jobs: Sequence[Job],
    me: Rank,
    place: Callable[[Job], tuple[Path, str]],
    is_done: Callable[[Job], bool],
    look: Callable[[], object] = lambda: None,
) -> Iterator[Job]:
    """The jobs that this process is to do, each when its turn comes; alone, all that are not done.

    place: the folder of a job's result and its name there, the same in every process. look: called before jobs are
    looked at, to see what others have done.

    The first process goes on until all are done, and takes over what a process that ended left undone; the others end
    when nothing is free. A job that is not done after its turn has failed: no other process repeats it while this one
    lives, and the first process tries what failed elsewhere once more.
    Raises ConfigError where the file system has no locks.
    """
    if me.world == 1:
        for job in jobs:
            look()
            if not is_done(job):
                yield job
        return
    claims, left = Claims(), dict(enumerate(jobs))
    try:
        yield from _shared(left, claims, me, place, is_done, look)
    finally:
        claims.close()


def _shared(
    left: dict[int, Job],
    claims: Claims,
    me: Rank,
    place: Callable[[Job], tuple[Path, str]],
    is_done: Callable[[Job], bool],
    look: Callable[[], object],
) -> Iterator[Job]:
    waits = False
    while left:
        took = False
        look()
        for index, job in list(left.items()):
            if is_done(job):
                del left[index]
            elif claims.take(*place(job)):
                del left[index]
                look()
                if not is_done(job):  # between the look and the claim
                    took = True
                    yield job
        if left and not took:
            if not me.is_first:
                return
            if not waits:
                say(f"{len(left)} left, which other processes are at")
            waits = True
            time.sleep(_POLL)


class Claims:
    """The jobs that this process has taken; it holds them until `close` or its end."""

    def __init__(self) -> None:
        self._files: dict[Path, BinaryIO] = {}
        self._mine: set[tuple[Path, int]] = set()

    def take(self, folder: Path, name: str) -> bool:
        """Take the job of that name, unless another process has it."""
        folder = folder.resolve()  # one handle per file: closing any gives up the locks of all, on POSIX
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
        position = int.from_bytes(digest, "little") % _POSITIONS
        if (folder, position) not in self._mine:
            if not self._lock(folder, position):
                return False
            self._mine.add((folder, position))
        return True

    def close(self) -> None:
        """Give all up. The file goes when nobody else, of this run or another one, holds a lock in it."""
        for folder, stream in self._files.items():
            with stream, suppress(OSError):
                if _lock_alone(stream) and _is_at(stream, folder / CLAIMS):
                    (folder / CLAIMS).unlink()
        self._files.clear()
        self._mine.clear()

    def _lock(self, folder: Path, position: int) -> bool:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                if folder not in self._files:
                    self._files[folder] = (folder / CLAIMS).open("a+b")
                stream = self._files[folder]
                if not _lock_byte(stream, position):
                    return False
                if _is_at(stream, folder / CLAIMS):
                    return True
                self._files.pop(folder).close()  # removed since it was opened, so nothing was locked in it
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{shown_path(folder)} cannot be shared by several processes: {reason}") from error


def _lock_byte(stream: BinaryIO, position: int) -> bool:
    """Lock one byte, which need not be there; False when another process has. Raises OSError without locks."""
    try:
        if sys.platform == "win32":
            stream.seek(position)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _lock_alone(stream: BinaryIO) -> bool:
    """Give up this process's locks, and lock the whole file if no other process has a lock in it."""
    if sys.platform == "win32":
        stream.close()  # an open file cannot be removed there, by anyone
        return True
    fcntl.lockf(stream, fcntl.LOCK_UN)
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(stream: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one at this path."""
    if stream.closed:
        return True
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
