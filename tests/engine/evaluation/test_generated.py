"""Folders of pictures and photos, and one sentence for everything that may be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cones2.errors import Cones2Error
from cones2.evaluation.generated import read_generated, read_references
from cones2.layout.regions import Box
from cones2.storage.files import write_atomically
from cones2.storage.png import write_png

PICTURE = Image.new("RGB", (8, 8), "red")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    PICTURE.save(folder / "a.png")
    settings = {"prompt": "a dog", "subjects": [{"subject": "dog", "residual": "x"}]}
    write_atomically(folder / "more" / "b.png", lambda stream: write_png(PICTURE, stream, settings))
    caption(folder)
    return folder


def caption(folder: Path, **changes: Any) -> None:
    said = {
        "prompt": "a dog and a mug",
        "subjects": ["dog", "mug"],
        "regions": {"dog": [0, 0.25, 0.5, 0.75]},
        **changes,
    }
    (folder / "captions.json").write_text(json.dumps({"a.png": said}))


def test_captions_come_from_the_table_or_from_the_picture(images: Path) -> None:
    first, second = read_generated(images, ["dog", "mug"])
    assert (first.name, first.prompt, first.subjects) == ("a.png", "a dog and a mug", ("dog", "mug"))
    assert first.regions == {"dog": Box(0, 0.25, 0.5, 0.75)}
    assert (second.name, second.prompt, second.subjects) == ("more/b.png", "a dog", ("dog",))
    assert first.picture().size == (8, 8)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": None}, "a.png has no prompt: write it into captions.json"),
        ({"subjects": []}, "a.png names no subjects"),
        ({"subjects": ["cat"]}, 'a.png shows "cat", of which there are no references; there are: dog, mug'),
        ({"regions": {"cat": [0, 0, 1, 1]}}, 'a.png has a region for "cat", which is not among its subjects'),
        ({"regions": {"dog": [0, 0, 1]}}, 'the region of "dog" must be [x, y, width, height]'),
        ({"regions": {"dog": [0.5, 0, 1, 1]}}, 'the region of "dog" must lie in the picture'),
        ({"regions": {"dog": [0, 0, "nan", 1]}}, 'the region of "dog" must lie in the picture'),
        ({"regions": []}, "a.png: regions must be a table of boxes"),
    ],
)
def test_a_wrong_caption_is_one_sentence(images: Path, changes: dict[str, Any], sentence: str) -> None:
    caption(images, **changes)
    with pytest.raises(Cones2Error) as error:
        read_generated(images, ["dog", "mug"])
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "must be a table"),
        ("{", "is not JSON"),
        ('{"z.png": {}}', "captions.json names z.png, which is not in"),
        ("{}", "a.png has no prompt"),
    ],
)
def test_a_wrong_table_is_one_sentence(images: Path, content: str, sentence: str) -> None:
    (images / "captions.json").write_text(content)
    with pytest.raises(Cones2Error, match=sentence):
        read_generated(images, ["dog", "mug"])


def test_folders_that_are_missing_or_empty_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Cones2Error, match="there is no folder of pictures at"):
        read_generated(tmp_path / "none", [])
    with pytest.raises(Cones2Error, match="has no pictures"):
        read_generated(tmp_path, [])
    with pytest.raises(Cones2Error, match="there is no folder of references at"):
        read_references(tmp_path / "none")
    with pytest.raises(Cones2Error, match="has no folders: put the photos of each subject into one of its name"):
        read_references(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(Cones2Error, match="dog has no photos"):
        read_references(tmp_path)


def test_unreadable_pictures_are_named(images: Path, tmp_path: Path) -> None:
    (tmp_path / "references" / "dog").mkdir(parents=True)
    (tmp_path / "references" / "dog" / "1.png").write_bytes(b"nothing")
    with pytest.raises(Cones2Error, match=r"1\.png is not a readable picture"):
        read_references(tmp_path / "references")
    (images / "a.png").write_bytes(b"nothing")
    (first, _) = read_generated(images, ["dog", "mug"])
    with pytest.raises(Cones2Error, match=r"a\.png is not a readable picture"):
        first.picture()
    (images / "captions.json").unlink()
    with pytest.raises(Cones2Error, match=r"a\.png is not a readable picture"):
        read_generated(images, ["dog", "mug"])


def test_one_photo_is_enough(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / ".hidden").mkdir()
    PICTURE.save(tmp_path / "dog" / "1.JPG", "JPEG")
    references = read_references(tmp_path)
    assert list(references) == ["dog"] and len(references["dog"]) == 1
