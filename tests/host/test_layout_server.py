"""A layout whose outputs are connected in a graph, or only one of them."""

from typing import Any

import pytest

from tests.host.client.server import HostServer

ADVICE = "no picture follows the layout: connect the model output of Apply Layout Guidance to the sampler too"

CONDITIONING = {"positive": 0, "guide": 1, "sample": 2}  # the number of that output of each node


def graph(seed: int, model: str, positive: str) -> dict[str, Any]:
    """API prompt: one subject in a box, sampled by the stock KSampler with the model and prompt of the given nodes."""
    box = {"x": 0, "y": 0, "width": 32, "height": 64}
    layout = {"boxes": box, "width": 64, "height": 64, "subjects": "dog", "weight": 2.5}
    guide = {
        "model": ["demo", 0], "conditioning": ["positive", 0], "layout": ["layout", 0], "guidance_weight": 0.08,
        "start_percent": 0.0, "end_percent": 1.0, "guided_steps": -1, "negative_mode": "outside",
    }  # fmt: skip
    sample = {
        "model": [model, 0], "positive": [positive, int(positive == "guide")], "negative": ["negative", 0],
        "latent_image": ["latent", 0], "seed": seed, "steps": 2, "cfg": 4.0, "sampler_name": "euler",
        "scheduler": "normal", "denoise": 1.0,
    }  # fmt: skip
    return {
        "demo": {"class_type": "Cones2LoadDemoModel", "inputs": {}},
        "positive": {"class_type": "Cones2TextEncode", "inputs": {"clip": ["demo", 1], "text": "a photo of a dog"}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["demo", 1], "text": ""}},
        "layout": {"class_type": "Cones2LayoutFromBoxes", "inputs": layout},
        "guide": {"class_type": "Cones2ApplyLayoutGuidance", "inputs": guide},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "sample": {"class_type": "KSampler", "inputs": sample},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["demo", 2]}},
        "preview": {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}},
    }


@pytest.mark.parametrize(
    ("model", "positive", "said"),
    [
        ("guide", "guide", None),
        ("demo", "guide", ADVICE),
        ("guide", "positive", "connect the conditioning output of Apply Layout Guidance to the sampler too"),
        ("demo", "positive", None),
    ],
)
def test_one_output_alone_gives_a_warning(host_server: HostServer, model: str, positive: str, said: str | None) -> None:
    before = len(host_server.log_text)
    run = host_server.run(graph(seed=len(model + positive), model=model, positive=positive))
    assert (run.status, run.error) == ("success", "")
    log = host_server.log_text[before:]
    assert (said in log) if said else (ADVICE not in log and "follows layouts" not in log)


def test_one_model_is_enough_for_two_layouts(host_server: HostServer) -> None:
    prompt = graph(seed=5, model="second", positive="both")
    prompt["second"] = {**prompt["guide"], "inputs": {**prompt["guide"]["inputs"], "guidance_weight": 0.1}}
    prompt["both"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["guide", 1], "conditioning_2": ["second", 1]},
    }
    before = len(host_server.log_text)
    run = host_server.run(prompt)
    assert (run.status, run.error) == ("success", "")
    assert ADVICE not in host_server.log_text[before:]


def test_a_layout_joined_from_behind_is_missed(host_server: HostServer) -> None:
    prompt = graph(seed=6, model="guide", positive="joined")
    prompt["joined"] = {
        "class_type": "ConditioningConcat",
        "inputs": {"conditioning_to": ["positive", 0], "conditioning_from": ["guide", 1]},
    }
    before = len(host_server.log_text)
    run = host_server.run(prompt)
    assert (run.status, run.error) == ("success", "")
    assert "Conditioning Concat drops the layout of conditioning_from" in host_server.log_text[before:]


@pytest.mark.parametrize(("origin", "said"), [("positive", True), ("guide", False), ("sample", False)])
def test_a_look_at_a_guided_picture_without_its_layout_is_said(
    host_server: HostServer, origin: str, said: bool
) -> None:
    prompt = graph(seed=7, model="demo", positive="positive")
    inputs = {**prompt["sample"]["inputs"], "layout": ["layout", 0], "guidance_weight": 0.08, "guided_steps": -1}
    inputs |= {"recurrence": False, "negative_mode": "outside"}
    prompt["sample"] = {"class_type": "Cones2LayoutGuidedKSampler", "inputs": inputs}
    look = {
        "model": [origin, int(origin == "sample")], "conditioning": [origin, CONDITIONING[origin]],
        "latent": ["sample", 0], "subjects": "dog", "first_step": 0, "last_step": 1, "seed": 7, "steps": 2,
        "scheduler": "normal",
    }  # fmt: skip
    prompt["look"] = {"class_type": "Cones2SubjectAttention", "inputs": look}
    prompt["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["look", 0]}}
    if origin != "guide":
        del prompt["guide"]
    if said:
        look["model"] = ["demo", 0]
    before = len(host_server.log_text)
    run = host_server.run(prompt)
    assert (run.status, run.error) == ("success", "")
    assert ("Subject Attention looks without the layout" in host_server.log_text[before:]) == said


@pytest.mark.parametrize("followed", [False, True])
def test_a_scene_that_nobody_follows_gives_a_warning(host_server: HostServer, followed: bool) -> None:
    prompt = graph(seed=7 + followed, model="demo", positive="scene")
    del prompt["guide"], prompt["layout"]
    drawn = '{"subjects": [{"name": "dog"}]}'
    size = {"width": 64, "height": 64, "batch_size": 1}
    words = {"prompt": "a photo of a dog", "negative_prompt": "", "layout_document": drawn}
    prompt["scene"] = {"class_type": "Cones2Scene", "inputs": {"clip": ["demo", 1], **words, **size}}
    if followed:
        extra = {"guidance_weight": 0.08, "guided_steps": -1, "recurrence": False, "negative_mode": "outside"}
        prompt["sample"]["inputs"] |= extra
        prompt["sample"]["class_type"] = "Cones2LayoutGuidedKSampler"
    before = len(host_server.log_text)
    run = host_server.run(prompt)
    assert (run.status, run.error) == ("success", "")
    assert ("no picture follows the layout of Scene" in host_server.log_text[before:]) != followed
