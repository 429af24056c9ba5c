"""Layout Painter and Scene on the real host, and samplers that take the layout from the conditioning."""

import json

import pytest

from tests.host.client.worker import HostWorker

SD1 = "sd15_short"


def test_painter_gives_layout_masks_preview_and_size(in_host: HostWorker) -> None:
    found = in_host.drawn.painted()
    assert found["subjects"] == [["dog", 2.5], ["mug", 3]]
    assert found["masks"] == [[2, 96, 128], True, 0.25]
    assert found["preview"] == [1, 288, 384, 3]
    assert found["size"] == [128, 96]
    assert found["linked"] == [["dog", pytest.approx(0.28, abs=0.01)], ["mug", pytest.approx(0.28, abs=0.01)]]
    assert found["background"] == ["cones2_background"]


@pytest.mark.parametrize("scene", [False, True])
def test_a_wrong_document_is_said_before_anything_runs(in_host: HostWorker, scene: bool) -> None:
    assert in_host.drawn.said(text="", scene=scene) == ""
    assert in_host.drawn.said(text="{", scene=scene).startswith("the layout document is not JSON")
    absent = json.dumps({"subjects": [{"name": "dog", "residual": "gone.safetensors"}]})
    assert ('there is no residual "gone.safetensors"' in in_host.drawn.said(text=absent, scene=scene)) == scene


def test_scene_is_what_the_small_nodes_make(in_host: HostWorker) -> None:
    found = in_host.drawn.scene(needs=(SD1,), name=SD1)
    assert found["positive"] and found["changed"] and found["negative"] and found["carried"]
    assert found["latent"] == [2, 4, 12, 16]
    assert found["layout"] == [["dog", 2.5], ["mug", 3]]


def test_a_region_in_the_prompt_takes_the_place_of_what_is_drawn(in_host: HostWorker) -> None:
    found = in_host.drawn.placed_by_prompt(needs=(SD1,), name=SD1)
    assert found["encoded"]
    assert found["shares"] == {"dog": 0.125, "mug": pytest.approx(0.196, abs=0.01)}


def test_the_sampler_takes_the_layout_that_the_prompt_carries(in_host: HostWorker) -> None:
    found = in_host.drawn.carried(needs=(SD1,), name=SD1)
    assert found["same"] and found["usable"] and found["plain model"]
    assert found["guided"] > 1e-3
    assert found["given out"] == 0.3


MESSAGES = {
    "no layout": "LayoutError: no layout is connected, and the positive prompt carries none",
    "no subject": "LayoutError: the layout names no subject",
    "not in the prompt": 'PromptError: the layout places "cat", which is not in the prompt',
    "absent file": 'ResidualError: there is no residual "gone.safetensors"',
    "no clip": "PromptError: the CLIP input is empty",
    "odd picture": "LayoutError: the background image has 5 channels",
}


@pytest.mark.parametrize("what", MESSAGES)
def test_wrong_input_is_one_sentence(in_host: HostWorker, what: str) -> None:
    assert in_host.drawn.refused(needs=(SD1,), name=SD1, what=what).startswith(MESSAGES[what])
