"""Arms are read from texts, and cost what they cost."""

from __future__ import annotations

import pytest

from cones2.errors import ConfigError
from cones2.evaluation.arms import NAMED, parse_arm


def test_a_name_is_its_arm() -> None:
    assert parse_arm("both") == NAMED["both"]


def test_changes_are_read() -> None:
    arm = parse_arm("both,g=0.3,outside=-2,mode=others,guided=0.5,recurrence=off,steps=10,cfg=6")
    assert arm.name == "both,g=0.3,outside=-2,mode=others,guided=0.5,recurrence=off,steps=10,cfg=6"
    assert (arm.guidance_weight, arm.outside_weight, arm.outside_mode) == (0.3, -2.0, "others")
    assert (arm.guided_steps, arm.recurrence, arm.steps, arm.cfg) == (5, False, 10, 6.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bth", 'there is no arm "bth"; there are: nothing, residual'),
        ("both,gg=1", '"both,gg=1" changes "gg"; an arm has: looks'),
        ("both,g=x", '"both,g=x": g is "x": a number from 0 to 1000 is needed'),
        ("both,steps=0", "a whole number from 1 to 10000 is needed"),
        ("both,mode=inside", "write outside or others"),
        ("both,recurrence", "write on or off"),
        ("both,guided=2", "a number from 0 to 1 is needed"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_arm(text)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("text", "forwards"),
    [
        ("nothing", 24),  # 12 steps, negative and positive
        ("layout", 48),  # every guided step twice
        ("layout,recurrence=off", 24),
        ("layout,guided=0.25", 30),
        ("area", 60),  # three regions, the rest and the negative prompt
        ("collage", 16),  # begins at the fifth of twelve steps
        ("both,denoise=0.5", 48),  # no collage: denoise changes nothing
    ],
)
def test_forwards_per_picture_of_three_subjects(text: str, forwards: int) -> None:
    assert parse_arm(text).forwards(3) == forwards
