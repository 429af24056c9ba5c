"""Regions in the prompt itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import LayoutError
from cones2.layout.document import LayoutDocument, document_of_names, parse_document
from cones2.layout.inline import regions_in_text
from cones2.layout.shapes import Rectangle


def boxes(text: str) -> dict[str, list[float]]:
    return {each.name: list(shape.box) for each in regions_in_text(text)[1] for shape in each.shapes}  # type: ignore[union-attr]


def test_a_word_is_placed_and_the_bracket_goes() -> None:
    text = "a dog[region 0.5 0.3 .4 0.6], and a Mug[REGION 0, 0, 1, 1]."
    assert regions_in_text(text)[0] == "a dog, and a Mug."
    assert boxes(text) == {"dog": [0.5, 0.3, 0.4, 0.6], "Mug": [0, 0, 1, 1]}


def test_of_a_word_that_occurs_twice_one_is_placed() -> None:
    assert boxes("a dog and a dog[region 0 0 1 1]") == {"dog#2": [0, 0, 1, 1]}
    assert boxes("a dog[region 0 0 .5 1] and a dog[region .5 0 .5 1]") == {
        "dog#1": [0, 0, 0.5, 1],
        "dog#2": [0.5, 0, 0.5, 1],
    }
    assert boxes("a hotdog, dogs and a dog[region 0 0 1 1]") == {"dog": [0, 0, 1, 1]}


def test_other_brackets_stay() -> None:
    assert regions_in_text("a [dog|cat] (mug:1.2)[x]") == ("a [dog|cat] (mug:1.2)[x]", [])


@pytest.mark.parametrize(
    "wrong",
    [
        "dog[region]",
        "dog[region 1 2 3]",
        "[region 0 0 1 1]",
        "dog[region 0 0 1 x]",
        "dog[region 0 0 1 -1]",
        "dog[region 0 0 99 1]",
    ],
)
def test_a_wrong_region_is_one_sentence(wrong: str) -> None:
    with pytest.raises(LayoutError, match=r"is not a region|far outside"):
        regions_in_text(f"a {wrong}")


def test_thousands_of_regions_are_refused() -> None:
    with pytest.raises(LayoutError, match="300 regions: 256 is the limit"):
        regions_in_text("a[region 0 0 1 1] " * 300)


def test_what_the_text_says_replaces_what_was_drawn() -> None:
    drawn = document_of_names(["dog", "mug"])
    _, placed = regions_in_text("a DOG[region 0 0 1 1], a cat[region 0 0 .5 .5]")
    changed = drawn.with_regions(placed)
    assert [subject.name for subject in changed.subjects] == ["dog", "mug", "cat"]
    assert changed.subjects[1] == drawn.subjects[1]
    assert changed.subjects[0].shapes == (Rectangle(placed[0].shapes[0].box),)  # type: ignore[union-attr]


def test_a_subject_keeps_its_weight() -> None:
    heavy = parse_document('{"subjects": [{"name": "dog", "weight": 4}]}')
    assert heavy.with_regions(regions_in_text("a dog[region 0 0 1 1]")[1]).subjects[0].weight == 4


@given(st.text(alphabet="ab [region]0.5-,x'", max_size=60))
def test_any_text_is_a_prompt_or_one_sentence(text: str) -> None:
    try:
        prompt, placed = regions_in_text(text)
    except LayoutError as error:
        assert len(str(error)) < 400
    else:
        assert len(prompt) <= len(text) and isinstance(LayoutDocument().with_regions(placed), LayoutDocument)


def test_a_prompt_with_regions_is_bounded() -> None:
    with pytest.raises(LayoutError, match="20,000 is the limit"):
        regions_in_text("a dog[region 0 0 1 1] " + "and a mug " * 2000)
    assert regions_in_text("and a mug " * 2000)[1] == []
