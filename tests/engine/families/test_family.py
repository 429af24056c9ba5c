"""The table of model families."""

from __future__ import annotations

import pytest

from cones2.families.family import FAMILIES, family_of_encoders, family_of_width, width_label


def test_a_width_names_one_family() -> None:
    assert [family_of_width(family.width) for family in FAMILIES] == list(FAMILIES)
    assert [family.width for family in FAMILIES] == [768, 1024, 2048, 128]
    assert family_of_width(4096) is None
    assert (width_label(1024), width_label(7)) == ("1024 wide (SD 2.x)", "7 wide (no known family)")


@pytest.mark.parametrize(
    ("widths", "key"),
    [({"l": 768}, "sd1"), ({"l": 128}, "toyworld"), ({"h": 1024}, "sd2"), ({"g": 1280, "l": 768}, "sdxl")],
)
def test_the_encoders_of_a_clip_name_its_family(widths: dict[str, int], key: str) -> None:
    family = family_of_encoders(widths)
    assert family is not None and family.key == key


@pytest.mark.parametrize("widths", [{"t5xxl": 4096}, {"l": 1024}, {"l": 768, "g": 1280, "t5xxl": 4096}, {}])
def test_other_encoders_are_not_of_a_known_family(widths: dict[str, int]) -> None:
    assert family_of_encoders(widths) is None


def test_all_encoders_of_a_family_are_read_from_one_layer() -> None:
    assert all(encoder.layer == family.layer for family in FAMILIES for encoder in family.encoders)


def test_a_family_knows_the_size_of_its_models_pictures() -> None:
    sides = {family.key: [family.side(prediction) for prediction in family.predictions] for family in FAMILIES}
    assert sides == {"sd1": [512], "sd2": [512, 768], "sdxl": [1024], "toyworld": [64]}
    assert FAMILIES[0].side("v_prediction") == 512  # trained further to predict v
