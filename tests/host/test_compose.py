"""Layout guidance beside other packs' patches, in either order."""

import pytest

from tests.host.client.worker import HostWorker

TOLERANCE = 1e-4
SD1 = "sd15_short"


@pytest.mark.parametrize("kind", ["replacement", "block_replacement", "patch", "override", "lora"])
def test_guidance_composes_with_a_foreign_patch(in_host: HostWorker, kind: str) -> None:
    found = in_host.compose.beside(needs=(SD1,), name=SD1, kind=kind)
    assert found["forwards"] == 1
    assert found["used"] > 0
    assert found["order"] < 1e-6
    assert found["error"] < TOLERANCE
    assert found["change"] > 10 * TOLERANCE and found["guidance"] > 10 * TOLERANCE


def test_guidance_composes_with_a_foreign_hook(in_host: HostWorker) -> None:
    found = in_host.compose.beside_hook(needs=(SD1,), name=SD1)
    assert found["before"] < TOLERANCE and found["after"] < TOLERANCE
    assert found["change"] > 10 * TOLERANCE


def test_chained_nodes_steer_once(in_host: HostWorker) -> None:
    found = in_host.compose.chained(needs=(SD1,), name=SD1)
    assert found == {"twice": True, "again": True, "original": True}


def test_forward_passes_in_threads_do_not_mix(in_host: HostWorker) -> None:
    found = in_host.compose.threads(needs=(SD1,), name=SD1)
    assert found["same"] and found["runs"] == [4, 4]
    assert found["different"] > 10 * TOLERANCE


@pytest.mark.parametrize("backend", ["attention_basic", "attention_sub_quad", "attention_split", "attention_flash"])
def test_every_attention_of_the_host_takes_the_layout(in_host: HostWorker, backend: str) -> None:
    """Flash attention takes no mask: the host would fall back with a warning at every layer and step."""
    found = in_host.compose.attention_backend(needs=(SD1,), name=SD1, backend=backend)
    assert found["error"] < TOLERANCE
    assert found["warnings"] == []
    assert (found["masked"] > 0) == (backend != "attention_flash")
