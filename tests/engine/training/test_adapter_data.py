"""metadata.jsonl of an image adapter's training: what is read, and a sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.errors import Cones2Error, ConfigError
from cones2.layout.regions import Box
from cones2.training.adapter_data import read_labeled_pictures
from tests.support.labeled_pictures import label, write_labels, write_pictures


def changed(**changes: Any) -> dict[str, Any]:
    """A line whose first object is another."""
    line = label(0)
    line["objects"][0] = {key: value for key, value in (line["objects"][0] | changes).items() if value != "out"}
    return line


def test_pictures_are_read_with_their_objects(tmp_path: Path) -> None:
    first, _ = read_labeled_pictures(write_pictures(tmp_path))
    dog, vase = first.objects
    assert first.caption == "a dog and a vase" and first.path == tmp_path / "0.png"
    assert (dog.name, dog.box, dog.mask) == ("dog", Box(0, 0.25, 0.5, 0.5), tmp_path / "0_mask.png")
    assert vase.mask is None and vase.references == (tmp_path / "vase.png",)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (label(0, text=""), '"text" is not a caption'),
        (label(0, text="a dog and a vase \ud800"), "has half of a character"),
        (label(0, objects=[]), '"objects" is not a list'),
        (label(0, colour=1), "has colour; there are: file_name, text, objects"),
        (label(0, file_name="../0.png"), "not a path inside the folder"),
        (label(0, file_name="/etc/passwd"), "not a path inside the folder"),
        (label(0, file_name="none.png"), "there is no file none.png"),
        (changed(name="cat"), '"cat" is not named in the text'),
        (changed(name="vas"), '"vas" is not named in the text'),
        (changed(name="vase"), "two objects are named vase"),
        (changed(name=3), 'lacks its "name"'),
        (changed(box=[0, 0, 1]), '"box" is not [x, y, width, height]'),
        (changed(box=[0, 0, 64, 64]), "fractions of the picture"),
        (changed(box=[0.5, 0, 0.6, 1]), "leaves the picture"),
        (changed(box=[0, 0, float("nan"), 1]), "fractions of the picture"),
        (changed(mask="out"), "neither a mask nor references"),
        (changed(references="a.png"), '"references" is not a list'),
    ],
)
def test_a_wrong_line_is_one_sentence_with_its_number(tmp_path: Path, line: dict[str, Any], sentence: str) -> None:
    write_pictures(tmp_path)
    write_labels(tmp_path, [label(1), line])
    with pytest.raises(ConfigError) as error:
        read_labeled_pictures(tmp_path)
    assert sentence in str(error.value) and "line 2" in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"{", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[1]", "is not an object"), (b"\n", "lists no picture")],
)
def test_what_is_not_such_a_list_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        read_labeled_pictures(tmp_path)


def test_a_folder_without_a_list_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metadata"):
        read_labeled_pictures(tmp_path)


def test_a_file_that_a_link_leads_out_to_is_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    (folder / "1.png").rename(tmp_path / "1.png")
    (folder / "1.png").symlink_to(tmp_path / "1.png")
    with pytest.raises(ConfigError, match=r"line 2: .file_name. 1\.png is not a path inside the folder"):
        read_labeled_pictures(folder)


def test_a_folder_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    assert len(read_labeled_pictures(tmp_path / "link")) == 2


def test_a_long_line_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(b"[" + b"[]," * (100 << 10) + b"[]]\n")
    monkeypatch.setattr(json, "loads", lambda line: pytest.fail("it was parsed"))
    with pytest.raises(ConfigError, match="line 1: it is longer than 262,144 bytes"):
        read_labeled_pictures(tmp_path)


def test_too_many_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path, 3)
    monkeypatch.setattr("cones2.training.adapter_data._MAX_LINES", 2)
    with pytest.raises(ConfigError, match="more than 2 lines"):
        read_labeled_pictures(tmp_path)


def test_as_many_lines_as_allowed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path, 2)
    monkeypatch.setattr("cones2.training.adapter_data._MAX_LINES", 2)
    assert [picture.line for picture in read_labeled_pictures(tmp_path)] == [1, 2]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "box", "mask"]), inner),
    max_leaves=8,
)


@settings(max_examples=60)
@given(key=st.sampled_from(["file_name", "text", "objects", "name", "box", "mask", "references"]), value=values)
def test_nothing_but_a_sentence_comes_of_a_wrong_value(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    line = changed(**{key: value}) if key in ("name", "box", "mask", "references") else label(0, **{key: value})
    (folder / "metadata.jsonl").write_text(json.dumps(line))
    with pytest.raises(Cones2Error) as error:
        read_labeled_pictures(folder)
    assert len(str(error.value)) < 2000
