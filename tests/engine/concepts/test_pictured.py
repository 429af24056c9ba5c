"""Subjects that are known by their pictures alone."""

from __future__ import annotations

import pytest
import torch

from cones2.concepts.cutout import CutOut
from cones2.concepts.pictured import MAX_PICTURES, PicturedSubject, on_white, with_pictures
from cones2.concepts.residual import make_residual
from cones2.errors import AdapterError
from cones2.prompt.claims import Claim, parse_phrase


def cutout(height: int = 4, width: int = 8, opacity: float = 1.0) -> CutOut:
    return CutOut(torch.cat([torch.zeros(3, height, width), torch.full((1, height, width), opacity)]))


def test_a_cut_out_is_laid_on_white_in_the_middle_of_a_square() -> None:
    square = on_white(cutout())
    assert square.shape == (3, 8, 8)
    assert bool((square[:, 2:6] == 0).all()) and bool((square[:, :2] == 1).all()) and bool((square[:, 6:] == 1).all())


def test_a_half_transparent_pixel_is_half_white() -> None:
    assert float(on_white(cutout(opacity=0.5))[0, 4, 4]) == 0.5


def test_a_residual_with_cut_outs_has_pictures_too() -> None:
    trained = make_residual("dog", torch.ones(1, 16)).with_cutouts([cutout()])
    found = with_pictures([make_residual("mug", torch.ones(1, 16)), trained])
    assert [str(each.reference) for each in found] == ["dog"] and found[0].strength == 1


def test_subjects_without_any_picture_are_named() -> None:
    with pytest.raises(AdapterError, match=r'no subject has a picture \(subjects: "dog"\)'):
        with_pictures([make_residual("dog", torch.ones(1, 16))])


@pytest.mark.parametrize("count", [0, MAX_PICTURES + 1])
def test_the_number_of_pictures_is_bounded(count: int) -> None:
    with pytest.raises(AdapterError, match=f'"cat#2" has {count} pictures: 1 to 16 are taken'):
        PicturedSubject(parse_phrase("cat#2"), (cutout(),) * count)


def test_the_words_stay_as_they_are() -> None:
    rows = torch.randn(3, 16)
    before = rows.clone()
    placed = PicturedSubject(parse_phrase("cat"), (cutout(),)).at(Claim("cat", ((1,),)))
    placed.change_rows(rows)
    assert torch.equal(rows, before) and placed.spans == ((1,),) and len(placed.cutouts) == 1
