"""The workflows of earlier releases still load in the real frontend, survive a round trip there, and execute."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.host.client.browser import Browser
from tests.host.client.checkpoints import Checkpoints
from tests.host.client.discovery import PACK
from tests.host.client.server import HostServer
from tests.host.client.workflows import EARLIER, quick, read_workflow, supply_files

NOTES = {"MarkdownNote", "Note"}
SHOWING = {"SaveImage", "PreviewImage"}
DEMO = next(path for path in EARLIER if path.stem == "demo")
OF_THE_USERS_MODEL = [path for path in EARLIER if path != DEMO]
each_workflow = pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)


def test_none_is_forgotten() -> None:
    assert {path.stem for path in EARLIER} == {
        "demo",
        "two_subjects_color_layout",
        "published_guidance_config",
        "three_subjects_regions_second_pass",
        "train_residual",
    }


@each_workflow
def test_loads_and_round_trips(frontend: Browser, path: Path) -> None:
    workflow = read_workflow(path)
    loaded = frontend.call("load", workflow)
    assert loaded["missing"] == []
    assert set(loaded["marked"]) <= {"CheckpointLoaderSimple"}  # the user's own checkpoint is not here
    assert loaded["nodes"] == len(workflow["nodes"])
    first = frontend.call("prompt")
    frontend.call("load", first["workflow"])
    second = frontend.call("prompt")
    assert first["output"] == second["output"]
    assert {(link[3], link[1], link[2]) for link in workflow["links"]} == links_of(first["output"])
    executed = [node for node in workflow["nodes"] if node["type"] not in NOTES]
    assert len(first["output"]) == len(executed)


def links_of(prompt: dict[str, Any]) -> set[tuple[int, int, int]]:
    """Target, origin and output of each link of an API prompt."""
    linked = [(key, value) for key, node in prompt.items() for value in node["inputs"].values() if is_link(value)]
    return {(int(target), int(origin), output) for target, (origin, output) in linked}


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def test_nodes_2_reads_them_alike(frontend: Browser, host_server: HostServer) -> None:
    """Both renderers of the frontend send the same prompt."""
    prompts = []
    for vue_nodes in (True, False):
        frontend.open(host_server.url, **{"Comfy.VueNodes.Enabled": vue_nodes})
        for path in EARLIER:
            frontend.call("load", read_workflow(path))
            prompts.append(frontend.call("prompt")["output"])
    assert prompts[: len(EARLIER)] == prompts[len(EARLIER) :]


def api_prompt(frontend: Browser, path: Path) -> dict[str, Any]:
    frontend.call("load", read_workflow(path))
    prompt: dict[str, Any] = frontend.call("prompt")["output"]
    return prompt


def execute(server: HostServer, prompt: dict[str, Any], seconds: float = 180) -> dict[str, list[Image.Image]]:
    """The pictures that a run saves or shows, by the title of the node."""
    run = server.run(prompt, seconds)
    assert (run.status, run.error) == ("success", "")
    titles = {key: node["_meta"]["title"] for key, node in prompt.items() if node["class_type"] in SHOWING}
    return {
        title: [Image.open(io.BytesIO(server.image(image))).convert("RGB") for image in run.outputs[key]["images"]]
        for key, title in titles.items()
    }


def is_flat(picture: Image.Image) -> bool:
    return all(low == high for low, high in picture.getextrema())


@each_workflow
def test_executes(frontend: Browser, host_server: HostServer, checkpoints: Checkpoints, path: Path) -> None:
    shown = execute(host_server, quick(api_prompt(frontend, path), checkpoints.make("sd15")))
    pictures = [picture for group in shown.values() for picture in group]
    assert pictures and all(picture.width >= 64 and not is_flat(picture) for picture in pictures)


def test_demo_needs_nothing_of_the_user() -> None:
    nodes = read_workflow(DEMO)["nodes"]
    assert not {node["type"] for node in nodes} & {"CheckpointLoaderSimple", "LoadImage", "Cones2LoadGuidanceConfig"}
    files = {node["widgets_values"][0] for node in nodes if node["type"] == "Cones2LoadResidual"}
    assert len(files) == 2
    assert files <= {f"demo/{file.name}" for file in (PACK / "cones2" / "assets" / "toyworld" / "residuals").iterdir()}


def test_demo_shows_what_guidance_alone_does(frontend: Browser, host_server: HostServer) -> None:
    """Both sides start from the same noise, prompt and subjects: without guided steps they are the same pictures."""
    prompt = api_prompt(frontend, DEMO)
    shown = execute(host_server, prompt)
    assert [picture.size for picture in shown["Without guidance"] + shown["With guidance"]] == [(512, 512)] * 8
    assert all(before != after for before, after in zip(*bits(shown), strict=True))
    sampler = next(node for node in prompt.values() if node["class_type"] == "Cones2LayoutGuidedKSampler")
    sampler["inputs"]["guided_steps"] = 0
    without, unguided = bits(execute(host_server, prompt))
    assert without == unguided


def bits(shown: dict[str, list[Image.Image]]) -> list[list[bytes]]:
    """The pictures of the demo's two sides."""
    return [[picture.tobytes() for picture in shown[side]] for side in ("Without guidance", "With guidance")]


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoint", "width"), [("sd21", 1024), ("sd21_v", 1024), ("sdxl", 2048)])
@pytest.mark.parametrize("path", OF_THE_USERS_MODEL, ids=lambda path: path.stem)
def test_executes_on_other_models(
    frontend: Browser, host_server: HostServer, checkpoints: Checkpoints, path: Path, checkpoint: str, width: int
) -> None:
    supply_files(host_server.base, width)
    try:
        prompt = quick(api_prompt(frontend, path), checkpoints.make(checkpoint))
        assert execute(host_server, prompt, seconds=600)  # training SDXL takes minutes on a CPU
    finally:
        supply_files(host_server.base)
