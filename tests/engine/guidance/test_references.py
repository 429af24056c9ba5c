"""Reference pictures bound to regions."""

from __future__ import annotations

import pytest
import torch

from cones2.errors import LayoutError, PromptError
from cones2.guidance.references import ReferenceBias, picture_maps
from cones2.layout.regions import Box, Layout, layout_from_boxes
from cones2.prompt.claims import PhraseRef, parse_phrase
from cones2.rules import Rules

GRID = (4, 8)


def two_halves() -> Layout:
    boxes = [Box(0, 0, 0.5, 1), Box(0.5, 0, 0.25, 1)]  # the last quarter is nobody's
    return layout_from_boxes(boxes, ["dog + picture 2", "+ picture 1"], 32, 64, "fractions")


def gains(pictures: tuple[int, ...] = (2, 1)) -> tuple[torch.Tensor, torch.Tensor, ReferenceBias]:
    maps = picture_maps(two_halves(), pictures)
    assert maps is not None
    term = ReferenceBias(maps)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 2, 32, 16, generator=generator)
    return term.gains(q, k, GRID, [range(40, 56), range(60, 76)]).cells, (q @ k.mT).std(), term


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        ("dog + picture 1", PhraseRef("dog", None), "dog + picture 1"),
        ("dog#2 + Picture 12 ", PhraseRef("dog", 2), "dog#2 + picture 12"),
        ("+ picture 3", PhraseRef(""), "+ picture 3"),
    ],
)
def test_a_subject_may_name_a_picture(text: str, expected: PhraseRef, written: str) -> None:
    found = parse_phrase(text)
    assert found == expected and str(found) == written


@pytest.mark.parametrize("text", ["picture 1", "dog picture 1", "dog + photo 1", "dog + picture one", "c++"])
def test_other_words_are_words(text: str) -> None:
    assert parse_phrase(text).picture is None


def test_pictures_are_counted_from_one() -> None:
    with pytest.raises(PromptError, match="counted from 1"):
        parse_phrase("dog + picture 0")


def test_a_picture_gains_inside_its_region_and_is_closed_everywhere_else() -> None:
    cells, std, term = gains()
    assert term.pictures == (2, 1)
    column = torch.arange(32) % GRID[1]
    second, first = cells[0].T
    assert torch.allclose(second[column < 3], 0.3 * 2.5 * std) and (second[column > 4] == -(2.0**14)).all()
    assert torch.allclose(first[(column == 4) | (column == 5)][:1], 0.3 * 2.5 * std)
    assert (cells[0][column > 6] == -(2.0**14)).all()  # cells of no region read neither


def test_pictures_of_no_region_have_no_column() -> None:
    assert picture_maps(two_halves(), (None, None)) is None
    maps = picture_maps(two_halves(), (None, 4))
    assert maps is not None and maps.groups == ((4,),)


def test_regions_of_one_picture_are_united() -> None:
    maps = picture_maps(two_halves(), (1, 1))
    assert maps is not None and maps.groups == ((1,),)
    assert (maps.groups_at(*GRID)[:, 0].view(GRID)[:, 0] == 2.5).all()
    assert (maps.groups_at(*GRID)[:, 0].view(GRID)[:, -1] < 0).all()


def test_a_model_without_reference_pictures_refuses_them() -> None:
    with pytest.raises(LayoutError, match='"dog \\+ picture 2" names a reference picture'):
        Rules().claim_regions(two_halves(), None, None)  # type: ignore[arg-type]
