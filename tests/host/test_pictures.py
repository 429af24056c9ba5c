"""Subjects from pictures on the real host: what the adapted model computes."""

import os
from pathlib import Path

import pytest

from tests.host.client.worker import HostWorker

TOLERANCE = 1e-4
SD1 = "sd15_short"


@pytest.mark.parametrize(
    ("name", "count", "kind", "options"),
    [
        (SD1, 2, "mip", {"batch": 2}),
        (SD1, 1, "plain", {}),
        (SD1, 2, "plus", {}),
        (SD1, 4, "mip", {"height": 16, "width": 10}),
        pytest.param("sdxl_short", 2, "mip", {}, marks=pytest.mark.slow),
    ],
)
def test_the_adapted_forward_is_the_published_formula(
    in_host: HostWorker, name: str, count: int, kind: str, options: dict
) -> None:
    found = in_host.pictures.formula(needs=(name,), name=name, count=count, kind=kind, **options)
    assert found["calls"] == 1
    assert found["error"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE


def test_prompt_and_negative_prompt_may_run_apart(in_host: HostWorker) -> None:
    """The host cannot batch prompts whose lengths differ by more than four times."""
    found = in_host.pictures.formula(needs=(SD1,), name=SD1, count=2, negative="sand and sea " * 120)
    assert found["calls"] == 2
    assert found["error"] < TOLERANCE


def test_a_layout_keeps_pictures_in_their_regions(in_host: HostWorker) -> None:
    found = in_host.pictures.placed(needs=(SD1,), name=SD1)
    assert found["error"] < TOLERANCE and found["effect"] > 20 * TOLERANCE


def test_an_area_is_shown_its_part_of_the_layout(in_host: HostWorker) -> None:
    assert in_host.pictures.area(needs=(SD1,), name=SD1)["error"] < TOLERANCE


def test_layout_guidance_and_pictures_add_up_in_either_order(in_host: HostWorker) -> None:
    found = in_host.pictures.beside_layout(needs=(SD1,), name=SD1)
    assert found["order"] < 1e-5
    assert found["error"] < TOLERANCE
    assert found["pictures"] > 20 * TOLERANCE


@pytest.mark.parametrize("kind", ["replacement", "lora"])
def test_pictures_compose_with_foreign_changes(in_host: HostWorker, kind: str) -> None:
    found = in_host.pictures.beside_foreign(needs=(SD1,), name=SD1, kind=kind)
    assert found["order"] < 1e-5
    assert found["error"] < TOLERANCE
    assert found["change"] > 10 * TOLERANCE


def test_nothing_is_added_at_zero_and_the_model_is_left_as_it_was(in_host: HostWorker) -> None:
    found = in_host.pictures.untouched(needs=(SD1,), name=SD1)
    assert found.pop("effect") > 20 * TOLERANCE
    assert set(found.values()) == {True}, found


def test_two_adapters_on_one_model_add_up(in_host: HostWorker) -> None:
    found = in_host.pictures.two_adapters(needs=(SD1,), name=SD1)
    assert found["order"] < 1e-5 and found["more"] > 20 * TOLERANCE


def test_subjects_from_pictures_go_where_residuals_go(in_host: HostWorker) -> None:
    found = in_host.pictures.with_residual_nodes(needs=(SD1,), name=SD1)
    assert found == {"applied": True, "scene": True, "regions": ["dog"]}


def test_a_unified_loader_s_pipeline_is_taken(in_host: HostWorker) -> None:
    assert in_host.pictures.unified(needs=(SD1,), name=SD1)["error"] == 0


def test_mistakes_get_one_sentence(in_host: HostWorker) -> None:
    found = in_host.pictures.refused(needs=(SD1,), name=SD1)
    expected = {
        "vision": "reads image features 24 wide, but this image encoder gives 16",
        "no vision": "no CLIP vision model is connected",
        "other vision": "clip_vision is a object, not a CLIP vision model",
        "adapter": "it lacks image_proj and ip_adapter (it has model)",
        "layers": "layers (another model) but the model has",
        "same": "two subjects (dog, mug) have the same picture: each needs its own",
        "layout": "the layout has no region for a subject with pictures (cat); its regions are: dog, mug",
        "nan": "image holds values that are not numbers",
        "prompt": '"cat" is not in the prompt; its words are: a, dog, and, mug',
        "positions": "another node replaces the prompts or merges the positions",
        "save": '"dog" is a subject from pictures: it has no residual to save',
    }
    assert {name: text for name, text in expected.items() if text not in found[name]} == {}, found
    assert all(sentence.startswith("cones2.") or "Error:" in sentence for sentence in found.values())


RECORDED = Path(os.environ.get("CONES2_RECORDED", "nowhere")) / "mip"


@pytest.mark.skipif(not RECORDED.is_dir(), reason="CONES2_RECORDED names no folder with recorded runs (mip/)")
def test_the_host_s_unet_class_repeats_recorded_runs(in_host: HostWorker) -> None:
    for path in sorted(RECORDED.glob("MIP4/MIP4_*.json")):
        found = in_host.recorded_pictures.recorded(folder=str(RECORDED), case=path.stem)
        print(path.stem, found)
        assert found["plain"] < 2e-3 and found["adapted"] < 2e-3
