"""Attention on the sampler's preview: the picture is the same, and nothing is done where it is off."""

import pytest

from tests.host.client.worker import HostWorker

NEEDS = ("sd15_short",)


@pytest.mark.parametrize(("recurrence", "combined"), [(True, False), pytest.param(False, True, marks=pytest.mark.slow)])
def test_each_step_shows_where_words_look_and_the_picture_is_the_same(
    in_host: HostWorker, recurrence: bool, combined: bool
) -> None:
    found = in_host.live_attention.views(needs=NEEDS, recurrence=recurrence, combined=combined)
    assert found["same"] and found["left"] == []
    assert found["plain previews"] == 0  # the host's own are off
    assert found["steps"] == [[1, 3], [2, 3], [3, 3]]
    assert found["sizes"] == [[384, 512, 3]] * 3
    assert min(found["colored"]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Flux.1", "Qwen-Image"])
def test_transformers_show_it_as_well(in_host: HostWorker, name: str) -> None:
    found = in_host.live_attention.of_transformer(name=name)
    assert found["same"] and found["left"] == []
    assert found["steps"] == [[1, 3], [2, 3], [3, 3]]
    assert max(found["sizes"][0]) == 512 and min(found["colored"]) > 10


def test_without_it_nobody_looks(in_host: HostWorker) -> None:
    assert in_host.live_attention.cost_when_off(needs=NEEDS) == 0
