"""Arms that begin with photos: in the noise, and as a noised collage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from cones2.concepts.collage import pasted
from cones2.errors import ConfigError
from cones2.evaluation.arms import parse_arm
from cones2.evaluation.cases import Case
from cones2.evaluation.drawing import Material, draw, scene_of

pytest.importorskip("diffusers")

from cones2.evaluation.toyworld.bench import open_bench
from cones2.evaluation.toyworld.subjects import cutouts, empty_picture
from cones2.evaluation.toyworld.suites import toy_suite


@pytest.fixture(scope="module")
def material() -> Material:
    return open_bench().material


def test_encoding_is_what_decoding_undoes(material: Material) -> None:
    picture = empty_picture("beach", 0)
    again = (material.model.decode(material.model.encode(picture[None] * 2 - 1)) / 2 + 0.5).clamp(0, 1)
    assert (again[0] - picture).abs().mean() < 0.06  # 27 dB: 0.045 root mean square


def test_cut_outs_are_the_subject_s_photos() -> None:
    for cut in cutouts("blue_white_dog"):
        assert 300 < int((cut.rgba[3] > 0.5).sum()) < 1900 and max(cut.height, cut.width) <= 64


def test_flipping_mirrors_the_cut_outs_of_every_second_picture(material: Material) -> None:
    cases = [replace(case, seed=seed) for seed, case in enumerate(toy_suite(2, "boxes", 2, 9).cases)]
    fixed = [scene_of(material, parse_arm("photo"), case).photos for case in cases]
    flipped = [scene_of(material, parse_arm("photo,flip=on"), case).photos for case in cases]
    assert torch.equal(flipped[0][0].cutouts[0].rgba, fixed[0][0].cutouts[0].rgba)
    assert torch.equal(flipped[1][0].cutouts[0].rgba, fixed[1][0].cutouts[0].rgba.flip(-1))


def test_one_photo_is_the_same_in_every_picture_and_several_are_not(material: Material) -> None:
    cases = [replace(case, subjects=case.subjects[:1]) for case in toy_suite(1, "boxes", 1, 9).cases * 8]
    cases = [replace(case, seed=seed) for seed, case in enumerate(cases)]

    def sizes(arm: str) -> set[tuple[int, ...]]:
        return {tuple(scene_of(material, parse_arm(arm), case).photos[0].cutouts[0].rgba.shape) for case in cases}

    assert len(sizes("photo,photos=1")) == 1 < len(sizes("photo"))


def test_a_collage_that_is_hardly_noised_keeps_its_pixels_and_its_arm_needs_photos(material: Material) -> None:
    cases = toy_suite(2, "boxes", 2, 9).cases
    kept = draw(material, parse_arm("collage,denoise=0.1,steps=20"), cases)
    free = draw(material, parse_arm("residual,steps=4"), cases)
    drawn = collages_of(material, cases)
    assert (kept - drawn).abs().mean() < 0.08 < (free - drawn).abs().mean()
    with pytest.raises(ConfigError, match='the arm "photo" needs cut-outs of the subjects\' photos'):
        draw(Material(material.model, material.residuals), parse_arm("photo"), cases)
    with pytest.raises(ConfigError, match=r'the arm "both" needs a residual of .*, and there is none'):
        draw(Material(material.model), parse_arm("both"), cases)


def collages_of(material: Material, cases: Sequence[Case]) -> torch.Tensor:
    assert material.background is not None
    places = [scene_of(material, parse_arm("photo"), case).photos for case in cases]
    things = [[(place.cutouts[0], place.region) for place in own] for own in places]
    return torch.stack([pasted(material.background(case), own)[0] for case, own in zip(cases, things, strict=True)])
