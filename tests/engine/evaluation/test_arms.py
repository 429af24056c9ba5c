"""Arms are read from texts, and cost what they cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cones2.errors import ConfigError
from cones2.evaluation.arms import LISTS, NAMED, parse_arm, parse_arms
from cones2.presets import PRESETS, Preset
from cones2.rules import GuidanceSettings


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


def test_a_preset_is_spelled_out_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = Preset(GuidanceSettings(0.5, -3.0, "others"), guided=0.25, recurrence=False)
    monkeypatch.setitem(PRESETS, "recommended", preset)
    arm = parse_arm("both,preset=recommended,g=0.1")
    assert arm.name == "both,g=0.5,outside=-3,mode=others,guided=0.25,recurrence=off,g=0.1"
    assert arm.guidance == GuidanceSettings(0.1, -3.0, "others")
    assert (arm.guided_steps, arm.recurrence) == (3, False)
    assert replace(parse_arm("both,preset=published"), name="both") == NAMED["both"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("both,preset=best", 'there is no preset "best"'), ("@all", 'there is no list "@all"; there are: @grid, @guided')],
)
def test_unknown_presets_and_lists_are_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_arms([text])
    assert sentence in str(error.value)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_begins_with_the_published_settings_and_has_no_arm_twice(name: str) -> None:
    arms = parse_arms([name])
    assert arms[0] == NAMED["both"]
    assert len({replace(arm, name="") for arm in arms}) == len(arms)


def test_the_grid_crosses_weight_outside_and_mode() -> None:
    _, *grid = parse_arms(["@grid"])
    for values in ({arm.guidance_weight for arm in grid}, {arm.outside_weight for arm in grid}):
        assert len(values) >= 3
    assert len({(arm.guidance_weight, arm.outside_weight, arm.outside_mode) for arm in grid}) == 24
    assert {arm.forwards(2) for arm in grid} == {24}


def test_a_list_leaves_out_what_is_there_and_a_text_stays() -> None:
    names = [arm.name for arm in parse_arms(["both,g=0.08", "@peers", "both", "both"])]
    assert names.count("both") == 1 and names[0] == "both,g=0.08"
    assert len(parse_arms(["@grid", "@guided", "@grid"])) < len(parse_arms(["@grid"])) + len(parse_arms(["@guided"]))
