"""Deltas that act in their regions alone, on the real host, against the formula written out."""

import pytest

from tests.host.client.worker import HostWorker

TOLERANCE = 1e-4
SD1 = "sd15_short"


@pytest.mark.parametrize(
    "options", [{}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({"batch": 2}, {"apart": True}))]
)
def test_each_of_two_concepts_acts_in_its_own_half(in_host: HostWorker, options: dict) -> None:
    found = in_host.delta_regions.formula(needs=(SD1,), name=SD1, **options)
    assert found["error"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE and found["summed"] > 20 * TOLERANCE
    assert found["zero"] and found["base"]


def test_layout_guidance_may_come_before_or_after(in_host: HostWorker) -> None:
    found = in_host.delta_regions.beside_layout(needs=(SD1,), name=SD1)
    assert found["error"] < TOLERANCE and found["order"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE


def test_a_picture_adapter_may_come_before_or_after(in_host: HostWorker) -> None:
    found = in_host.delta_regions.beside_pictures(needs=(SD1,), name=SD1)
    assert found["order"] < TOLERANCE
    assert min(found["effect"], found["pictures"]) > 20 * TOLERANCE


def test_a_layout_without_the_concept_is_refused(in_host: HostWorker) -> None:
    said = in_host.delta_regions.refused(needs=(SD1,), name=SD1)
    assert said.startswith("the layout has no region for <new1> dog; it has:")


def test_the_parts_of_a_picture_share_the_projections(in_host: HostWorker) -> None:
    assert in_host.delta_regions.moved_once()
