"""Archives from strangers: the list of files is judged before it is built in memory."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from cones2.errors import Cones2Error
from cones2.storage.archive import open_archive
from cones2.storage.tensor_tree import read_tree_file
from cones2.storage.torch_pickle import read_torch_file


def archive_of(records: int, counted: int, comment: int = 0) -> bytes:
    """A zip file that lists so many files of no name, and counts others at its end."""
    sizes = struct.pack("<3H", 0, 0, comment)
    listing = (b"PK\x01\x02" + bytes(24) + sizes + bytes(12) + bytes(comment)) * records
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, counted, counted, len(listing), 0, 0)
    return listing + end


@pytest.mark.parametrize("counted", [20_001, 1])
def test_a_long_list_of_files_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: int
) -> None:
    (tmp_path / "a.bin").write_bytes(archive_of(20_001, counted))
    monkeypatch.delattr(zipfile, "ZipInfo")  # what zipfile makes of each record
    with pytest.raises(Cones2Error, match="more than 20,000 files"):
        read_tree_file(tmp_path / "a.bin", 1 << 30, "adapter", (".bin",))
    with pytest.raises(Cones2Error, match="more than 1,000 files"):
        read_torch_file(archive_of(1001, min(counted, 1001)))


def test_a_short_list_of_many_bytes_is_refused() -> None:
    with pytest.raises(Cones2Error, match="more than 10 files"):
        open_archive(io.BytesIO(archive_of(3, 3, comment=65_000)), 10)


def test_an_archive_of_as_many_files_as_may_be_is_opened_and_read() -> None:
    buffer = io.BytesIO()
    torch.save(torch.zeros(100_000), buffer)
    with zipfile.ZipFile(buffer) as archive:
        count, names = len(archive.infolist()), archive.namelist()
    with open_archive(buffer, count) as archive:
        assert max(len(archive.read(name)) for name in names) == 400_000
    with pytest.raises(Cones2Error, match=f"more than {count - 1} files"):
        open_archive(buffer, count - 1)
