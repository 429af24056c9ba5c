"""Suites come from their seed, fit the picture, and say what they mean."""

from __future__ import annotations

import random

import pytest
import torch

from cones2.evaluation.cases import Box, bounds, places
from cones2.evaluation.choices import MOST_SUBJECTS, SHAPES, Shape
from cones2.evaluation.toyworld.suites import described, toy_suite
from cones2.evaluation.toyworld.world import SUBJECTS

COUNTS = range(1, MOST_SUBJECTS + 1)


def masks(case: object) -> list[torch.Tensor]:
    return [subject.place for subject in case.subjects]  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", COUNTS)
def test_regions_lie_in_the_picture_and_do_not_overlap(shape: Shape, count: int) -> None:
    for seed in range(3):
        regions = places(shape, count, random.Random(seed), 64)
        assert len(regions) == count
        assert torch.stack(regions).sum(0).max() == 1
        assert all(region.shape == (64, 64) and region.sum() >= 64 for region in regions)


@pytest.mark.parametrize("count", COUNTS)
def test_a_suite_depends_on_its_seed_alone_and_grows_at_its_end(count: int) -> None:
    short, long, other = (
        toy_suite(count, "boxes", 3, 5),
        toy_suite(count, "boxes", 6, 5),
        toy_suite(count, "boxes", 3, 6),
    )
    for a, b in zip(short.cases, long.cases, strict=False):
        assert (a.name, a.prompt, a.seed) == (b.name, b.prompt, b.seed)
        assert all(torch.equal(x, y) for x, y in zip(masks(a), masks(b), strict=True))
    assert [case.seed for case in short.cases] != [case.seed for case in other.cases]


def test_every_case_names_its_subjects_once_each() -> None:
    for count in COUNTS:
        for case in toy_suite(count, "free", 8, 1).cases:
            words = case.prompt.replace(",", " ").split()
            assert [word for word in words if word in {s.word for s in case.subjects}] == [
                s.word for s in case.subjects
            ]
            assert len({s.word for s in case.subjects}) == count
            assert all(SUBJECTS[s.name].kind == s.word for s in case.subjects)


def test_swapped_is_boxes_with_every_region_at_the_next_subject() -> None:
    for case, moved in zip(toy_suite(3, "boxes", 4, 2).cases, toy_suite(3, "swapped", 4, 2).cases, strict=True):
        a, b, c = masks(case)
        assert (case.prompt, case.seed) == (moved.prompt, moved.seed)
        assert all(torch.equal(x, y) for x, y in zip(masks(moved), [b, c, a], strict=True))


def test_the_other_prompts_of_a_case() -> None:
    (case,) = toy_suite(1, "boxes", 1, 0).cases
    (subject,) = case.subjects
    assert subject.described == described(subject.name)
    assert case.described == case.prompt.replace(subject.word, subject.described)
    assert case.alone(subject) == f"{case.opening} a {subject.word} {case.setting}"
    assert subject.word not in case.empty
    assert case.empty.endswith(case.setting)
    assert described("blue_white_dog") == "white striped blue dog"


def test_bounds_of_a_mask() -> None:
    mask = torch.zeros(8, 9, dtype=torch.bool)
    mask[2:5, 3] = mask[4, 3:8] = True
    assert bounds(mask) == (2, 3, 5, 8)
    assert Box(0, 0, 1, 1).width == 1
