"""Collages and starts from photos."""

from __future__ import annotations

import pytest
import torch

from cones2.errors import ConfigError
from cones2.evaluation.arms import parse_arm
from cones2.evaluation.drawing import Material, draw
from cones2.evaluation.starts import CutOut, collage, encoded, shifted

pytest.importorskip("diffusers")

from cones2.evaluation.toyworld.bench import open_bench
from cones2.evaluation.toyworld.subjects import cutouts, empty_picture
from cones2.evaluation.toyworld.suites import toy_suite


def mask(top: int, left: int, bottom: int, right: int) -> torch.Tensor:
    filled = torch.zeros(64, 64, dtype=torch.bool)
    filled[top:bottom, left:right] = True
    return filled


WHITE = CutOut(torch.ones(3, 64, 64), mask(10, 10, 30, 50))  # 20 high, 40 wide
BLACK = torch.zeros(3, 64, 64)


def test_a_cut_out_fills_its_region_s_width_or_height_and_keeps_its_proportions() -> None:
    picture, covered = collage(BLACK, [(WHITE, mask(0, 0, 32, 32))])
    rows, columns = (picture[0] > 0.5).any(1).nonzero(), (picture[0] > 0.5).any(0).nonzero()
    assert (int(rows.min()), int(rows.max()) + 1) == (8, 24)  # 16 of 32 rows, in the middle
    assert (int(columns.min()), int(columns.max()) + 1) == (0, 32)
    assert torch.equal(covered > 0.5, picture[0] > 0.5)


def test_a_cut_out_at_the_edge_stays_in_the_picture() -> None:
    tiny = mask(63, 63, 64, 64)
    picture, _ = collage(BLACK, [(WHITE, tiny)])
    assert picture.shape == (3, 64, 64) and picture[0, -6:, -6:].max() == 1


@pytest.fixture(scope="module")
def material() -> Material:
    return open_bench().material


def test_a_shift_has_the_photos_latents_inside_the_cut_outs_and_nothing_outside(material: Material) -> None:
    picture, covered = collage(torch.full((3, 64, 64), 0.5), [(WHITE, mask(0, 0, 32, 64))])
    start = shifted(material.model, picture[None], covered[None], 3.0)
    latents = encoded(material.model, picture[None])
    assert torch.allclose(start.latents[0, :, 2:5, 2:14], 3 * latents[0, :, 2:5, 2:14])
    assert start.latents[0, :, 9:].abs().max() == 0 and start.first_step == 0


def test_encoding_is_what_decoding_undoes(material: Material) -> None:
    picture = empty_picture("beach", 0)
    again = (material.model.decode(encoded(material.model, picture[None])) / 2 + 0.5).clamp(0, 1)
    assert (again[0] - picture).abs().mean() < 0.06  # 27 dB: 0.045 root mean square


def test_cut_outs_are_the_subject_s_photos() -> None:
    for cut in cutouts("blue_white_dog"):
        assert cut.picture.shape == (3, 64, 64) and 300 < int(cut.mask.sum()) < 1900


def test_a_collage_that_is_hardly_noised_keeps_its_pixels_and_its_arm_needs_photos(material: Material) -> None:
    cases = toy_suite(2, "boxes", 2, 9).cases
    kept = draw(material, parse_arm("collage,denoise=0.1,steps=20"), cases)
    free = draw(material, parse_arm("residual,steps=4"), cases)
    pasted = torch.stack([picture_of(material, case) for case in cases])
    assert (kept - pasted).abs().mean() < 0.08 < (free - pasted).abs().mean()
    with pytest.raises(ConfigError, match='the arm "photo" needs cut-outs of the subjects\' photos'):
        draw(Material(material.model, material.residuals), parse_arm("photo"), cases)
    with pytest.raises(ConfigError, match=r'the arm "both" needs a residual of .*, and there is none'):
        draw(Material(material.model), parse_arm("both"), cases)


def picture_of(material: Material, case: object) -> torch.Tensor:
    assert material.cutouts is not None and material.background is not None
    things = [(material.cutouts(s.name, case), s.place) for s in case.subjects]  # type: ignore[attr-defined, arg-type]
    return collage(material.background(case), things)[0]  # type: ignore[arg-type]
