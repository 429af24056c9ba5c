"""Custom Diffusion trained inside the graph, on the demo model with real photos."""

import math

import pytest

from tests.host.client.worker import HostWorker


@pytest.mark.parametrize("attention", ["keys and values", pytest.param("all", marks=pytest.mark.slow)])
def test_a_delta_is_learned_and_its_file_loads_and_applies(in_host: HostWorker, attention: str) -> None:
    found = in_host.delta_training.trains(attention=attention)
    assert found["tokens"] == "<new1> dog" and found["still"] == [] and found["changed"] == []
    assert found["weights"] == found["of"] if attention == "all" else found["weights"] < found["of"]
    assert len(found["losses"]) == 2 and all(map(math.isfinite, found["losses"]))
    assert found["metadata"]["trained"] == attention and found["metadata"]["class_pictures"] == "1"
    assert found["left"] == [".csv", ".safetensors"]
    assert found["works"]["same"] and found["works"]["effect"] > 1e-3


def test_training_sees_what_applying_gives(in_host: HostWorker) -> None:
    found = in_host.delta_training.sees_what_applying_gives()
    assert found["text"] < 1e-5 and found["error"] < 1e-5 < found["token"]


@pytest.mark.slow
def test_an_interrupted_delta_is_continued(in_host: HostWorker) -> None:
    found = in_host.delta_training.interrupted()
    assert found == {
        "raised": True, "waiting": ["checkpoint.pt"], "steps": [3], "same": True, "left": ["csv", "safetensors"]
    }  # fmt: skip


@pytest.mark.slow
def test_the_same_inputs_train_a_delta_once(in_host: HostWorker) -> None:
    assert in_host.delta_training.once() == {
        "first": 1, "same": 0, "other name": 0, "own class pictures": 1, "the same of them": 0,
        "none of the class": 1, "other token": 1,
    }  # fmt: skip


def test_a_token_that_prompts_cannot_name_is_refused(in_host: HostWorker) -> None:
    assert '"my dog" cannot be a token' in in_host.delta_training.refusal(token="my dog")
