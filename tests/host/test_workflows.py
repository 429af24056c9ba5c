"""Each workflow loads in the real frontend, survives a round trip there, and executes."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.host.client.browser import Browser
from tests.host.client.checkpoints import Checkpoints
from tests.host.client.discovery import PACK
from tests.host.client.server import HostServer
from tests.host.client.workflows import WORKFLOWS, quick, read_workflow, supply_files
from tests.host.client.workspace import PACK_FOLDER

NOTES = {"MarkdownNote", "Note"}
SHOWING = {"SaveImage", "PreviewImage"}
DEMO = PACK / "workflows" / "demo.json"
OF_THE_USERS_MODEL = [path for path in WORKFLOWS if path != DEMO]
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_there_are_workflows() -> None:
    assert {
        "demo",
        "two_subjects_color_layout",
        "published_guidance_config",
        "three_subjects_regions_second_pass",
        "train_residual",
    } <= {path.stem for path in WORKFLOWS}


@each_workflow
def test_has_a_note_and_a_thumbnail(path: Path) -> None:
    notes = [node for node in read_workflow(path)["nodes"] if node["type"] in NOTES]
    assert any(len(node["widgets_values"][0]) > 200 for node in notes)
    with Image.open(path.with_suffix(".jpg")) as thumbnail:
        assert thumbnail.format == "JPEG" and thumbnail.width >= 600


@each_workflow
def test_no_prompt_holds_the_text_of_the_negative_one(path: Path) -> None:
    nodes = read_workflow(path)["nodes"]
    negative = {node["widgets_values"][0] for node in nodes if node["type"] == "CLIPTextEncode"}
    assert not {node["widgets_values"][0] for node in nodes if node["type"] == "Cones2TextEncode"} & negative


@each_workflow
def test_has_no_node_that_the_host_gives_up(path: Path, host_server: HostServer) -> None:
    known = host_server.get("/object_info")
    used = {node["type"] for node in read_workflow(path)["nodes"]} & set(known)
    assert [kind for kind in sorted(used) if known[kind].get("deprecated")] == []


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
    executed = [node for node in workflow["nodes"] if node["type"] not in NOTES]
    assert len(first["output"]) == len(executed)


def test_nodes_2_reads_them_alike(frontend: Browser, host_server: HostServer) -> None:
    """Both renderers of the frontend send the same prompt."""
    prompts = []
    for vue_nodes in (True, False):
        frontend.open(host_server.url, **{"Comfy.VueNodes.Enabled": vue_nodes})
        for path in WORKFLOWS:
            frontend.call("load", read_workflow(path))
            prompts.append(frontend.call("prompt")["output"])
    assert prompts[: len(WORKFLOWS)] == prompts[len(WORKFLOWS) :]


def test_the_template_browser_lists_them(host_server: HostServer) -> None:
    assert sorted(host_server.get("/workflow_templates")[PACK_FOLDER]) == [path.stem for path in WORKFLOWS]


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
