"""Opening zip archives from strangers: the list of files is bounded before zipfile builds it in memory."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from ..errors import Cones2Error

_RECORD = b"PK\x01\x02"
_RECORD_BYTES = 512  # of one file in the list, on average at most; torch writes about 70
_TAIL_BYTES = 128 << 10  # zipfile looks for the end of the list in the last 64 KiB


def open_archive(stream: BinaryIO, members: int) -> zipfile.ZipFile:
    """The archive, which lists at most `members` files, whatever its own count says.

    Raises Cones2Error for a longer list, and zipfile's errors for anything but an archive.
    """
    bounded = _BoundedList(stream, members)
    archive = zipfile.ZipFile(bounded)
    bounded.members = None
    return archive


class _BoundedList:
    """A stream that refuses to be read as a list of too many files, until `members` is None.

    zipfile reads the whole list at once, so what it asks for is judged: how much it is, and how many records.
    """

    def __init__(self, stream: BinaryIO, members: int) -> None:
        self._stream = stream
        self.members: int | None = members
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1, /) -> bytes:
        """As a stream's. Raises Cones2Error for a list that is too long."""
        if self.members is None:
            return self._stream.read(size)
        most = max(self.members * _RECORD_BYTES, _TAIL_BYTES)
        data = self._stream.read(most + 1 if size < 0 else min(size, most + 1))
        if len(data) > most or data.count(_RECORD) > self.members:
            raise Cones2Error(f"it is an archive of more than {self.members:,} files")
        return data
