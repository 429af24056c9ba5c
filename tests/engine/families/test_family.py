"""The table of model families."""

from __future__ import annotations

import pytest

from cones2.families.family import (
    FAMILIES,
    TokenRows,
    family_of_encoders,
    family_of_rows,
    family_of_width,
    width_label,
)

TOLD_BY_WIDTH = [family for family in FAMILIES if family.is_told_by_width]


def test_a_width_names_one_family_of_stable_diffusions_kin() -> None:
    assert [family_of_width(family.width) for family in TOLD_BY_WIDTH] == TOLD_BY_WIDTH
    assert [family.width for family in TOLD_BY_WIDTH] == [768, 1024, 2048, 128]
    assert family_of_width(4096) is None
    assert (width_label(1024), width_label(7)) == ("1024 wide (SD 2.x)", "7 wide (no known family)")


@pytest.mark.parametrize(
    ("widths", "key"),
    [({"l": 768}, "sd1"), ({"l": 128}, "toyworld"), ({"h": 1024}, "sd2"), ({"g": 1280, "l": 768}, "sdxl")],
)
def test_the_encoders_of_a_clip_name_its_family(widths: dict[str, int], key: str) -> None:
    family = family_of_encoders(widths)
    assert family is not None and family.key == key


def test_the_widths_of_transformers_are_those_of_their_conditioning() -> None:
    widths = {family.key: family.width for family in FAMILIES if not family.is_told_by_width}
    assert widths == {
        "flux1": 4096, "flux2": 15360, "klein4b": 7680, "klein9b": 12288, "chroma": 4096, "qwen_image": 3584,
        "z_image": 2560, "lumina2": 2304, "sd3": 4096, "krea2": 30720, "anima": 1024, "wan": 4096, "cosmos": 1024,
    }  # fmt: skip


def test_families_of_the_same_encoder_are_told_apart_by_its_layers() -> None:
    found = [family_of_encoders({"qwen3_4b": 2560}, columns) for columns in (2560, 7680, None)]
    assert [family.key for family in found if family] == ["z_image", "klein4b", "klein4b"]


def test_words_are_where_the_model_reads_them() -> None:
    named = {family.key: [encoder.key for encoder in family.named_encoders] for family in FAMILIES}
    assert named["sdxl"] == ["l"] and named["flux1"] == ["t5xxl"] and named["qwen_image"] == ["qwen25_7b"]
    assert named["sd3"] == ["l", "t5xxl"]
    assert named["anima"] == ["t5xxl"]  # the model turns Qwen's output into rows of T5's tokens


def test_rows_say_which_text_encoder_and_layers_they_come_from() -> None:
    rows = {family.key: [tuple(each) for each in family.token_rows] for family in FAMILIES}
    assert rows == {
        "sd1": [("l", 768)], "sd2": [("h:-2", 1024)], "sdxl": [("l:-2+g:-2", 2048)], "toyworld": [("l", 128)],
        "flux1": [("t5xxl", 4096)], "flux2": [("mistral3_24b:-11x3", 15360)], "klein4b": [("qwen3_4b:-10x3", 7680)],
        "klein9b": [("qwen3_8b:-10x3", 12288)], "chroma": [("t5xxl", 4096)], "qwen_image": [("qwen25_7b", 3584)],
        "z_image": [("qwen3_4b:-2", 2560)], "lumina2": [("gemma2_2b:-2", 2304)],
        "sd3": [("l:-2+g:-2", 2048), ("t5xxl", 4096)], "krea2": [("qwen3vl_4b:-2x12", 30720)], "anima": [],
        "wan": [("umt5xxl", 4096)], "cosmos": [("t5xxl", 1024)],
    }  # fmt: skip


def test_of_several_families_with_the_same_encoder_the_named_one_is_found() -> None:
    t5 = TokenRows("t5xxl", 4096)
    found = [family_of_rows(t5, key) for key in ("", "chroma", "sd3", "krea2")]
    assert [family.key for family in found if family] == ["flux1", "chroma", "sd3", "flux1"]
    assert family_of_rows(TokenRows("t5xxl", 768)) is None


@pytest.mark.parametrize("widths", [{"t5xxl": 512}, {"l": 1024}, {"l": 768, "g": 1280, "t5xxl": 2048}, {}])
def test_other_encoders_are_not_of_a_known_family(widths: dict[str, int]) -> None:
    assert family_of_encoders(widths) is None


def test_all_encoders_of_a_family_are_read_from_one_layer() -> None:
    assert all(encoder.layer == family.layer for family in TOLD_BY_WIDTH for encoder in family.encoders)


def test_a_family_knows_the_size_of_its_models_pictures() -> None:
    sides = {family.key: [family.side(prediction) for prediction in family.predictions] for family in TOLD_BY_WIDTH}
    assert sides == {"sd1": [512], "sd2": [512, 768], "sdxl": [1024], "toyworld": [64]}
    assert FAMILIES[0].side("v_prediction") == 512  # trained further to predict v
