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
    assert found["left"] == ["", ".csv", ".safetensors"]  # the folder of the class picture stays
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


@pytest.mark.parametrize("token", ["my dog", "<a+b>", "<a(b:2)>", "<a\\b>"])
def test_a_token_that_prompts_cannot_name_is_refused(in_host: HostWorker, token: str) -> None:
    assert f'"{token}" cannot be a token' in in_host.delta_training.refusal(token=token)


def test_the_text_encoder_does_not_push_the_unet_out_when_no_word_learns(in_host: HostWorker) -> None:
    assert "SD1ClipModel" not in in_host.delta_training.loaded_after_the_unet()


def test_a_class_picture_may_have_a_long_caption(in_host: HostWorker) -> None:
    assert all(map(math.isfinite, in_host.delta_training.long_caption()))


def test_class_pictures_are_made_once_for_all_learning_rates(in_host: HostWorker) -> None:
    assert in_host.delta_training.class_pictures_made() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("changes", "sentence"), [({"resolution": 100}, "must be a multiple"), ({"class_word": "a <b> dog"}, "name <b>")]
)
def test_what_is_wrong_is_said_before_class_pictures_are_made(
    in_host: HostWorker, changes: dict, sentence: str
) -> None:
    found = in_host.delta_training.refused_before_pictures(**changes)
    assert sentence in found["said"] and found["made"] == []
