"""Each workflow loads in the real frontend, survives a round trip there, and executes."""

import io
from pathlib import Path

import pytest
from hostlink.browser import Browser
from hostlink.checkpoints import Checkpoints
from hostlink.server import HostServer
from hostlink.workflows import WORKFLOWS, quick, read_workflow, supply_files
from hostlink.workspace import PACK_FOLDER
from PIL import Image

NOTES = {"MarkdownNote", "Note"}
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_there_are_workflows() -> None:
    assert {
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


def execute(frontend: Browser, server: HostServer, path: Path, checkpoint: str) -> Image.Image:
    """The picture that a workflow saves when it runs on a synthetic checkpoint."""
    frontend.call("load", read_workflow(path))
    prompt = quick(frontend.call("prompt")["output"], checkpoint)
    run = server.run(prompt)
    assert (run.status, run.error) == ("success", "")
    saved = next(key for key, node in prompt.items() if node["class_type"] == "SaveImage")
    return Image.open(io.BytesIO(server.image(run.outputs[saved]["images"][0])))


@each_workflow
def test_executes(frontend: Browser, host_server: HostServer, checkpoints: Checkpoints, path: Path) -> None:
    with execute(frontend, host_server, path, checkpoints.make("sd15")) as picture:
        low, high = zip(*picture.convert("RGB").getextrema(), strict=True)
        assert picture.width >= 64 and max(high) > min(low)


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoint", "width"), [("sd21", 1024), ("sd21_v", 1024), ("sdxl", 2048)])
@each_workflow
def test_executes_on_other_models(
    frontend: Browser, host_server: HostServer, checkpoints: Checkpoints, path: Path, checkpoint: str, width: int
) -> None:
    supply_files(host_server.base, width)
    try:
        execute(frontend, host_server, path, checkpoints.make(checkpoint)).close()
    finally:
        supply_files(host_server.base)
