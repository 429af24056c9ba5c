"""Presets: what they decide, and what they cost."""

from __future__ import annotations

import pytest

from cones2.errors import ConfigError
from cones2.presets import AS_SET, PRESETS, Preset, find_preset
from cones2.ranges import GUIDANCE_WEIGHT, OUTSIDE_WEIGHT
from cones2.rules import DEFAULT_GUIDANCE


def test_the_published_preset_is_what_everything_defaults_to() -> None:
    assert PRESETS["published"] == Preset(DEFAULT_GUIDANCE, guided=1.0, recurrence=True)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_within_their_ranges(preset: Preset) -> None:
    assert preset.guidance.guidance_weight in GUIDANCE_WEIGHT and preset.guidance.outside_weight in OUTSIDE_WEIGHT
    assert 0 < preset.guided <= 1


def test_recurrence_costs_a_forward_more_in_each_guided_step() -> None:
    assert Preset(DEFAULT_GUIDANCE, 0.25).forwards == 1.25
    assert Preset(DEFAULT_GUIDANCE, 0.25, recurrence=False).forwards == 1
    assert Preset(DEFAULT_GUIDANCE, 0.25).guided_steps(10) == 2


def test_a_preset_says_what_it_sets_by_the_names_of_the_widgets() -> None:
    text = str(Preset(DEFAULT_GUIDANCE, 0.5))
    assert text == "guidance_weight 0.08, outside_weight -1e+08, negative_mode outside, guided_steps 50%, recurrence on"


def test_an_unknown_preset_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match='there is no preset "best"; there are: published, recommended, crowded'):
        find_preset("best")
    assert AS_SET not in PRESETS
