"""The files of an image adapter's training: checked before it, and made small before they become numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cones2.errors import ConfigError
from cones2.training import adapter_files
from cones2.training.adapter_data import read_labeled_pictures
from cones2.training.adapter_files import check_files, cut_by_mask, open_reference
from tests.support.labeled_pictures import SIDE, write_pictures


def broken(folder: Path) -> None:
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])


def without_white(folder: Path) -> None:
    Image.new("L", (SIDE, SIDE)).save(folder / "1_mask.png")


def too_large(folder: Path) -> None:
    Image.new("1", (10_001, 10_000)).save(folder / "1.png")


def not_a_picture(folder: Path) -> None:
    (folder / "1_mask.png").write_text("white on the dog")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (broken, "1.png is not a readable picture"),
        (without_white, "the mask 1_mask.png is empty"),
        (too_large, "pixels are the limit"),
        (not_a_picture, "1_mask.png is not a readable picture"),
    ],
)
def test_a_file_that_training_could_not_use_is_named_with_its_line(
    tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    write_pictures(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError) as error:
        check_files(read_labeled_pictures(tmp_path))
    assert str(error.value).startswith("metadata.jsonl, line 2: ") and sentence in str(error.value)


def test_a_transparent_reference_is_named_with_its_line(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    Image.new("RGBA", (9, 9)).save(tmp_path / "vase.png")
    with pytest.raises(ConfigError, match=r"line 1: the reference vase.png is empty"):
        check_files(read_labeled_pictures(tmp_path))


def test_each_checked_picture_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    check_files(read_labeled_pictures(write_pictures(tmp_path)), lambda *how_many: told.append(how_many))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("name", ["0.png", "0_mask.png", "vase.png"])
def test_the_digest_tells_other_contents_of_the_same_size(tmp_path: Path, name: str) -> None:
    pictures, digests = read_labeled_pictures(write_pictures(tmp_path)), []
    content = (tmp_path / name).read_bytes()
    for end in (b"A", b"B", b"A"):  # after a PNG's last chunk nothing is read
        (tmp_path / name).write_bytes(content + end)
        digests.append(check_files(pictures))
    assert digests[0] == digests[2] != digests[1]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes of the pictures that become numbers."""
    seen: list[tuple[int, int]] = []
    convert = adapter_files.transparent_cutout

    def watched(picture: Image.Image) -> object:
        seen.append(picture.size)
        return convert(picture)

    monkeypatch.setattr(adapter_files, "transparent_cutout", watched)
    return seen


def test_a_large_reference_is_made_small_before_it_becomes_numbers(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    Image.new("RGB", (6000, 1500), "red").save(tmp_path / "a.png")
    assert max(open_reference(tmp_path / "a.png").rgba.shape[1:]) == 512
    assert sizes == [(2048, 512)]


def test_only_what_the_mask_bounds_becomes_numbers(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    mask = np.zeros((1000, 3000), dtype=np.uint8)
    mask[100:140, 2000:2030] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    cut = cut_by_mask(Image.new("RGB", (3000, 1000), "red"), tmp_path / "mask.png")
    assert sizes == [(30, 40)] and cut.rgba.shape == (4, 40, 30)


def test_a_thin_subject_of_a_large_picture_stays_visible(tmp_path: Path) -> None:
    mask = np.zeros((450, 4500), dtype=np.uint8)
    mask[np.arange(4500) // 10, np.arange(4500)] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    cut = cut_by_mask(Image.new("RGB", (4500, 450), "red"), tmp_path / "mask.png")
    visible = cut.rgba[:, cut.rgba[3] > 0.5]
    assert visible.shape[1] and bool((visible[0] > 0.9).all()) and bool((visible[1:3] < 0.1).all())
