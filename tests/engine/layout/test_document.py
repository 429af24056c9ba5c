"""Layout documents: JSON from strangers to regions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cones2.errors import Cones2Error, LayoutError
from cones2.layout.document import LayoutDocument, columns, document_of_names, load_document, parse_document
from cones2.layout.document_values import MAX_POINTS, MAX_SHAPES

BOX = {"box": [0.25, 0.25, 0.5, 0.5]}


def document(*subjects: object, **more: object) -> str:
    return json.dumps({"version": 1, "subjects": list(subjects)} | more)


def of(*shapes: object, **more: object) -> str:
    return document({"name": "dog", "shapes": list(shapes)} | more)


def test_a_document_becomes_a_layout() -> None:
    text = document(
        {"name": " dog ", "color": "#ff0000", "weight": 3, "shapes": [BOX]},
        {"name": "mug", "shapes": [{"ellipse": [0, 0, 1, 1]}]},
    )
    layout = parse_document(text).layout(40, 80)
    assert (layout.height, layout.width, layout.subjects) == (40, 80, ["dog", "mug"])
    dog, mug = layout.regions
    assert (dog.weight, dog.color, dog.share) == (3, (255, 0, 0), 0.25)
    assert mug.weight == 2.5 and mug.color is not None and mug.share == pytest.approx(math.pi / 4, rel=0.02)


def test_residual_and_strength_are_kept() -> None:
    [dog] = parse_document(document({"name": "dog", "residual": "pets/rex.safetensors", "strength": 0.5})).subjects
    assert (dog.residual, dog.strength) == ("pets/rex.safetensors", 0.5)


def test_subjects_stand_side_by_side_where_nothing_is_drawn() -> None:
    layout = parse_document(document({"name": "dog"}, {"name": "mug", "shapes": []})).layout(100, 100)
    assert [region.share for region in layout.regions] == pytest.approx([0.4 * 0.7] * 2)
    assert not (layout.regions[0].mask & layout.regions[1].mask).any()
    assert document_of_names(["dog", "mug"]).layout(100, 100).subjects == ["dog", "mug"]
    assert len(columns(3)) == 3


def test_one_drawn_subject_leaves_the_others_unplaced(caplog: pytest.LogCaptureFixture) -> None:
    layout = parse_document(document({"name": "dog", "shapes": [BOX]}, {"name": "mug"})).layout(8, 8)
    assert layout.subjects == ["dog"]
    assert "no region is drawn for mug" in caplog.text


def test_the_same_document_fits_every_size() -> None:
    parsed = parse_document(of(BOX))
    for height, width in ((64, 64), (64, 128), (1, 1), (5000, 3000)):
        layout = parsed.layout(height, width)
        assert max(layout.height, layout.width) <= 2048 and not layout.is_stretched(height, width)


WRONG = {
    "[]": "must be a JSON object",
    "{": "is not JSON",
    "[" * 100_000: "nested too deeply",
    '{"subjects": 3}': '"subjects" of the layout document must be a list',
    '{"version": 2}': 'has the version "2": this pack reads version 1',
    '{"version": true}': "version",
    document(3): "subject 1 of the layout document is not an object",
    document({}): "subject 1 of the layout document has no name",
    document({"name": 3}): '"name" of subject 1',
    document({"name": "x" * 201}): "longer than 200 characters",
    document({"name": "dog", "color": "reddish"}): '"reddish" is not a color',
    document({"name": "dog", "weight": "heavy"}): 'the weight of "dog" of the layout document has "heavy"',
    document({"name": "dog", "strength": 11}): "a number from -10 to 10",
    document({"name": "do\ng"}): "a character that does not print",
    document({"name": "\ud800"}): "a character that does not print",
    document({"name": "dog", "residual": "x" * 501}): "is not the name of a file",
    document({"name": "dog", "residual": "a\0b"}): "is not the name of a file",
    document({"name": "dog", "shapes": {}}): "must be a list",
    of(3): 'shape 1 of "dog" of the layout document is not an object',
    of({}): "exactly one of box, ellipse, polygon, stroke; it has 0",
    of(BOX | {"stroke": []}): "it has 2",
    of({"box": [0, 0, 1]}): "must be [left, top, width, height]",
    of({"box": [0, 0, -1, 1]}): "a number from 0 to 9",
    of({"box": [0, 0, True, 1]}): "True",
    of({"box": [0, 0, 1e999, 1]}): "inf",
    of({"box": [math.nan, 0, 1, 1]}): "nan",
    of(BOX | {"erase": 1}): '"erase"',
    of({"polygon": []}): "list of points",
    of({"polygon": [3]}): "list of points",
    of({"stroke": [[0, 0]]}): '"size" of shape 1',
    '{"subjects": [{"name": "dog", "weight": ' + "9" * 5000 + "}]}": "the layout document is not JSON",
    of(*[BOX] * (MAX_SHAPES + 1)): "257 shapes: 256 is the limit",
    of({"polygon": [[0, 0]] * (MAX_POINTS + 1)}): "10,001 points: 10,000 is the limit",
    document(*[{"name": "dog"}] * 33): "33 subjects: 32 is the limit",
    " " * 1_000_000 + "{}": "1,000,002 characters",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_document_is_one_sentence(text: str) -> None:
    with pytest.raises(LayoutError) as caught:
        parse_document(text)
    assert WRONG[text] in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["", "  ", "{}", document()])
def test_a_document_without_subjects_says_how_one_looks(text: str) -> None:
    with pytest.raises(LayoutError, match="the layout names no subject"):
        parse_document(text).layout(8, 8)


def test_nothing_inside_the_picture_is_said_with_the_names() -> None:
    with pytest.raises(LayoutError, match=r"no region is drawn for any subject \(dog\)"):
        parse_document(of({"box": [2, 2, 1, 1]})).layout(8, 8)


def test_files_are_read_and_named_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text("\ufeff" + of(BOX), encoding="utf-8")
    assert load_document(path).subjects[0].name == "dog"
    path.write_text("{")
    with pytest.raises(LayoutError, match=r"scene\.json: the layout document is not JSON"):
        load_document(path)
    path.write_bytes(b"\xff")
    with pytest.raises(LayoutError, match="not UTF-8"):
        load_document(path)
    with pytest.raises(Cones2Error, match=r"there is no layout document .* the folder has scene\.json"):
        load_document(tmp_path / "other.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
numbers = st.floats(-4, 5)
lengths = st.floats(0, 9)
points = st.lists(st.tuples(numbers, numbers).map(list), min_size=1, max_size=6)
boxes = st.tuples(numbers, numbers, lengths, lengths).map(list)
shapes = st.one_of(
    st.fixed_dictionaries({"box": boxes}, optional={"erase": st.booleans()}),
    st.fixed_dictionaries({"ellipse": boxes}, optional={"erase": st.booleans()}),
    st.fixed_dictionaries({"polygon": points}, optional={"erase": st.booleans()}),
    st.fixed_dictionaries({"stroke": points, "size": lengths}, optional={"erase": st.booleans()}),
)


@given(st.lists(shapes, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_what_may_be_drawn_becomes_a_layout_or_a_sentence(drawn: list[object], height: int, width: int) -> None:
    parsed = parse_document(of(*drawn))
    try:
        layout = parsed.layout(height, width)
    except LayoutError:
        return
    assert all(region.mask.shape == (height, width) and region.mask.any() for region in layout.regions)


@given(st.lists(shapes, max_size=4))
def test_a_document_is_read_back_as_it_was_written(drawn: list[object]) -> None:
    parsed = parse_document(of(*drawn, color="red", weight=-1, residual="a.pt", strength=2))
    assert parse_document(parsed.to_json()) == parsed


@settings(max_examples=300)
@given(
    st.text()
    | json_values.map(json.dumps)
    | json_values.map(lambda value: document(value))
    | st.dictionaries(st.sampled_from(["name", "shapes", "weight", "color", "residual", "strength"]), json_values).map(
        document
    )
    | st.dictionaries(st.sampled_from(["box", "ellipse", "polygon", "stroke", "size", "erase"]), json_values).map(of)
)
@example('{"subjects": [{"name": "\\ud800"}]}')
def test_any_text_is_a_document_or_one_sentence(text: str) -> None:
    try:
        parsed = parse_document(text)
    except LayoutError as error:
        assert str(error).isprintable() and len(str(error)) < 500
    else:
        assert isinstance(parsed, LayoutDocument)


def test_overlapping_regions_both_keep_their_cells() -> None:
    layout = parse_document(
        document({"name": "dog", "shapes": [BOX]}, {"name": "mug", "shapes": [{"box": [0, 0, 1, 1]}]})
    ).layout(8, 8)
    assert torch.equal(layout.regions[0].mask & layout.regions[1].mask, layout.regions[0].mask)
