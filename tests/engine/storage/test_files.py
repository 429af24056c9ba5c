"""Reading with a limit, writing all or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from cones2.errors import Cones2Error
from cones2.storage.files import check_folder, read_limited, remove, write_atomically
from tests.support.full_disk import files_of_at_most


def test_reads_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    assert read_limited(path, 5, "thing") == b"12345"
    with pytest.raises(Cones2Error, match=r"a\.bin is larger than 4 bytes, the most a thing may have"):
        read_limited(path, 4, "thing")


def test_missing_file_names_its_neighbors(tmp_path: Path) -> None:
    for name in ("b.pt", "a.pt", "c.safetensors", "d.txt"):
        (tmp_path / name).touch()
    with pytest.raises(Cones2Error, match=r"no thing at .*x\.pt; the folder has a\.pt, b\.pt$"):
        read_limited(tmp_path / "x.pt", 9, "thing")
    with pytest.raises(Cones2Error, match=r"the folder has a\.pt, b\.pt, c\.safetensors$"):
        read_limited(tmp_path / "x", 9, "thing", (".safetensors", ".pt"))
    with pytest.raises(Cones2Error, match=r"has no \.json files$"):
        read_limited(tmp_path / "x.json", 9, "thing")
    with pytest.raises(Cones2Error, match=r"its folder .*none does not exist"):
        read_limited(tmp_path / "none" / "x.json", 9, "thing")


def test_long_folders_are_cut(tmp_path: Path) -> None:
    for number in range(15):
        (tmp_path / f"{number:02}.pt").touch()
    with pytest.raises(Cones2Error, match=r"10\.pt, 11\.pt and 3 more$"):
        read_limited(tmp_path / "x.pt", 9, "thing")


@pytest.mark.parametrize("name", ["n" * 5000, "nul\0byte"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(Cones2Error):
        read_limited(tmp_path / name, 9, "thing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Cones2Error, match="is not a file but should be a thing"):
            read_limited(path, 9, "thing")


def test_writes_and_creates_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    write_atomically(path, lambda stream: stream.write(b"1"))
    assert path.read_bytes() == b"1"
    assert os.listdir(path.parent) == ["a.bin"]


def test_existing_files_stay_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(Cones2Error, match="exists already and is left as it is"):
        write_atomically(path, lambda stream: stream.write(b"new"))
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda stream: stream.write(b"new"), overwrite=True)
    assert path.read_bytes() == b"new"


def test_a_faster_writer_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def write(stream: BinaryIO) -> None:
        path.write_bytes(b"theirs")
        stream.write(b"ours")

    with pytest.raises(Cones2Error, match="exists already"):
        write_atomically(path, write)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write, overwrite=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_unwritable_destinations(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.bin", tmp_path / "folder", tmp_path / ("n" * 300)):
        with pytest.raises(Cones2Error):
            write_atomically(path, lambda stream: stream.write(b"1"), overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_folders_that_can_be_written_are_left_as_they_are(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "folder")
    assert not os.listdir(tmp_path)
    (tmp_path / "there").mkdir()
    check_folder(tmp_path / "there" / "new")
    assert os.listdir(tmp_path) == ["there"] and not os.listdir(tmp_path / "there")


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (
        tmp_path / "file",
        tmp_path / "file" / "new",
        tmp_path / ("n" * 300),
        tmp_path / "new" / ("n" * 300),
    ):
        with pytest.raises(Cones2Error, match="cannot be written: "):
            check_folder(folder)
    with files_of_at_most(0), pytest.raises(Cones2Error, match="cannot be written: "):
        check_folder(tmp_path / "new")
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remove(tmp_path / "file")
    remove(tmp_path / "file")
    with pytest.raises(Cones2Error, match="cannot be deleted: "):
        remove(tmp_path / ("n" * 300))
