"""Layout guidance on the real host: what the patched model computes."""

import pytest

from tests.host.client.worker import HostWorker

TOLERANCE = 1e-4
MODELS = ("sd15_short", "sd21_short", "sd21_v_short", "sdxl_short")


SD1 = "sd15_short"


@pytest.mark.parametrize(
    ("name", "text_tokens", "cfg", "batch", "height", "width"),
    [
        (SD1, 7, 7.5, 1, 12, 16),
        (SD1, 30, 1.0, 3, 12, 12),
        (SD1, 90, 7.5, 1, 12, 20),
        (SD1, 200, 7.5, 1, 16, 12),
        ("sd21_short", 90, 7.5, 1, 12, 16),
        ("sd21_v_short", 30, 7.5, 1, 12, 16),
        ("sdxl_short", 90, 7.5, 1, 12, 16),
        *(
            pytest.param(name, *case, marks=pytest.mark.slow)
            for name in MODELS
            for case in ((30, 1.0, 3, 16, 16), (90, 1.0, 1, 12, 20), (200, 7.5, 3, 16, 12))
        ),
    ],
)
def test_guided_forward_is_the_published_formula(
    in_host: HostWorker, name: str, text_tokens: int, cfg: float, batch: int, height: int, width: int
) -> None:
    found = in_host.guidance.formula(needs=(name,),
        name=name, text_tokens=text_tokens, cfg=cfg, batch=batch, height=height, width=width,
    )  # fmt: skip
    assert found["rows"] == 77 * -(-text_tokens // 75)
    assert found["calls"] == 1
    assert found["error"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE


def drive(in_host: HostWorker, function: str, **arguments: object) -> dict:
    return getattr(in_host.guidance, function)(needs=(SD1,), name=SD1, **arguments)


@pytest.mark.parametrize(("positive", "negative", "calls"), [(7, 90, 1), (90, 200, 1), (30, 400, 2)])
def test_layout_survives_prompts_of_unequal_length(
    in_host: HostWorker, positive: int, negative: int, calls: int
) -> None:
    found = drive(in_host, "unequal_prompts", positive_tokens=positive, negative_tokens=negative)
    assert found["calls"] == calls
    assert found["error"] < TOLERANCE


def test_combined_conditionings_keep_their_own_layouts(in_host: HostWorker) -> None:
    found = drive(in_host, "combined")
    assert found["calls"] == 1
    assert found["error"] < TOLERANCE


def test_area_gets_its_part_of_the_layout_and_its_twin_none(in_host: HostWorker) -> None:
    found = drive(in_host, "area")
    assert found["error"] < TOLERANCE
    assert found["twin"] < TOLERANCE


def test_a_negative_area_repeats_the_positive_with_its_layout(in_host: HostWorker) -> None:
    assert drive(in_host, "negative_area")["error"] < TOLERANCE


def test_area_without_a_subjects_region_is_sampled(in_host: HostWorker) -> None:
    assert drive(in_host, "area_without_a_subject")["finite"]


def test_mask_weighs_guided_predictions(in_host: HostWorker) -> None:
    found = drive(in_host, "masked")
    assert found["left"] < TOLERANCE and found["right"] < TOLERANCE


def test_concatenated_prompt_keeps_its_rows(in_host: HostWorker) -> None:
    found = drive(in_host, "concatenated")
    assert found["before"] < TOLERANCE and found["after"] < TOLERANCE


def test_conditionings_run_apart_give_the_same(in_host: HostWorker) -> None:
    found = drive(in_host, "split_by_memory")
    assert found["calls"] == 2
    assert found["error"] < TOLERANCE


def test_one_conditioning_serves_several_sizes(in_host: HostWorker) -> None:
    assert max(drive(in_host, "second_pass")["errors"]) < TOLERANCE


@pytest.mark.parametrize(("dim", "before"), [(2, 0), (3, 0), (3, 1)])
def test_a_context_window_over_height_or_width_gets_its_part_of_the_layout(
    in_host: HostWorker, dim: int, before: int
) -> None:
    assert drive(in_host, "spatial_windows", dim=dim, before=before)["error"] < TOLERANCE


def test_a_context_window_over_a_batch_gets_the_whole_layout(in_host: HostWorker) -> None:
    found = drive(in_host, "batch_windows")
    assert found["error"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE


def test_controlnet_adds_what_it_adds_to_any_model(in_host: HostWorker) -> None:
    found = drive(in_host, "controlled")
    assert found["error"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE
