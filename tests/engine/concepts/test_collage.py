"""Cut-outs placed into regions."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.concepts.collage import PhotoPlace, collages, pasted, photo_places
from cones2.concepts.cutout import CutOut
from cones2.concepts.residual import make_residual
from cones2.layout.grid import resize_set
from cones2.layout.regions import Region
from cones2.prompt.claims import Claim


def mask(top: int, left: int, bottom: int, right: int, side: int = 64) -> torch.Tensor:
    filled = torch.zeros(side, side, dtype=torch.bool)
    filled[top:bottom, left:right] = True
    return filled


def plain(height: int, width: int, red: float = 1.0) -> CutOut:
    return CutOut(torch.tensor([red, 1.0, 1.0, 1.0])[:, None, None].expand(4, height, width).clone())


WHITE = plain(20, 40)
BLACK = torch.zeros(3, 64, 64)


def test_a_cut_out_fills_its_region_s_width_or_height_and_keeps_its_proportions() -> None:
    picture, covered = pasted(BLACK, [(WHITE, mask(0, 0, 32, 32))])
    rows, columns = (picture[0] > 0.5).any(1).nonzero(), (picture[0] > 0.5).any(0).nonzero()
    assert (int(rows.min()), int(rows.max()) + 1) == (8, 24)  # 16 of 32 rows, in the middle
    assert (int(columns.min()), int(columns.max()) + 1) == (0, 32)
    assert torch.equal(covered, picture[0] > 0.5)


def test_a_cut_out_at_the_edge_stays_in_the_picture() -> None:
    picture, _ = pasted(BLACK, [(WHITE, mask(63, 63, 64, 64))])
    assert picture.shape == (3, 64, 64) and picture[0, -6:, -6:].max() == 1


@settings(max_examples=60)
@given(
    sides=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    picture=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    region=st.integers(1, 2**16 - 1),
)
def test_any_cut_out_goes_into_any_region_of_any_picture_and_covers_nothing_outside_it(
    sides: tuple[int, int], picture: tuple[int, int], region: int
) -> None:
    place = torch.tensor([bool(region >> bit & 1) for bit in range(16)]).reshape(4, 4)
    before = torch.rand(3, *picture)
    after, covered = pasted(before, [(plain(*sides), place)])
    assert after.shape == before.shape and -1e-5 < float(after.min()) <= float(after.max()) < 1 + 1e-5
    assert not (covered & ~resize_set(place, *picture)).any()
    assert bool((after[:, covered] > 1 - 1e-5).all())


def test_what_is_transparent_shows_what_lies_below() -> None:
    half = torch.ones(4, 2, 2)
    half[3, :, 0] = 0
    picture, covered = pasted(BLACK, [(CutOut(half), mask(0, 0, 64, 64))])
    assert picture[:, :, :15].max() == 0 and picture[:, :, 50:].min() == 1
    assert not covered[:, :15].any() and covered[:, 50:].all()


def test_the_next_seed_takes_the_next_cut_out_and_a_seed_alone_the_same_as_in_a_batch() -> None:
    place = PhotoPlace((plain(4, 4, 0.0), plain(4, 4, 1.0)), mask(0, 0, 64, 64))
    drawn = collages([place], (6, 7, 8), 64, 64)
    assert [float(picture[0, 32, 32]) for picture in drawn.pictures] == [0, 1, 0]
    assert torch.equal(collages([place], (7,), 64, 64).pictures[0], drawn.pictures[1])


def test_a_place_of_one_picture_is_in_no_other() -> None:
    drawn = collages([PhotoPlace((WHITE,), mask(0, 0, 64, 64), 1)], (0, 0), 32, 32)
    assert not drawn.covered[0].any() and drawn.covered[1].any()
    assert torch.equal(drawn.pictures[0], torch.full((3, 32, 32), 0.5))


def test_cells_are_those_mostly_covered_and_a_small_cut_out_keeps_one() -> None:
    large = collages([PhotoPlace((plain(4, 4),), mask(0, 0, 32, 32))], (0,), 64, 64)
    assert torch.equal(large.cells(8, 8)[0, 0], mask(0, 0, 4, 4, 8))
    small = collages([PhotoPlace((plain(4, 4),), mask(0, 0, 2, 2))], (0,), 64, 64)
    assert int(small.cells(4, 4).sum()) == 1
    assert not collages([], (0,), 64, 64).cells(4, 4).any()


def test_cut_outs_go_into_the_regions_that_share_a_token_with_their_subject() -> None:
    residual = make_residual("dog", torch.ones(1, 8)).with_cutouts([WHITE])
    placed = [residual.at(Claim("dog", ((3,),))), make_residual("mug", torch.ones(1, 8)).at(Claim("mug", ((6,),)))]
    inside = mask(0, 0, 8, 8)
    regions = [Region("brown dog", inside), Region("mug", inside), Region("dog", inside, weight=-1.0)]
    [place] = photo_places(regions, [((2, 3),), ((6,),), ((3,),)], placed)
    assert place.cutouts == (WHITE,) and place.region is inside
