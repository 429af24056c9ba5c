"""How the pack loads, and what its nodes look like from outside."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.host.client.checkpoints import Checkpoints
from tests.host.client.discovery import INSIDE, Host
from tests.host.client.server import HostServer, PromptRejected, start_command
from tests.host.client.worker import HostWorker
from tests.host.client.workspace import PACK_FOLDER, make_workspace

SNAPSHOT = Path(__file__).with_name("schemas.json")


def test_schemas_are_those_that_saved_workflows_know(in_host: HostWorker) -> None:
    """Saved widgets are positional: a change here breaks workflows. CONES2_UPDATE_SCHEMAS=1 accepts it."""
    found = in_host.schema.schemas()
    if os.environ.get("CONES2_UPDATE_SCHEMAS"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(SNAPSHOT.read_text())
    assert len(found) == 25


def test_every_input_and_output_is_explained(in_host: HostWorker) -> None:
    assert in_host.schema.undocumented() == []


def test_pack_offers_the_new_entry_point_only(in_host: HostWorker) -> None:
    assert in_host.schema.environment() == {"legacy": [], "web": "./web"}
    assert in_host.started["warnings"] == []


def test_loading_brings_no_heavy_library(host: Host, checkpoints: Checkpoints, tmp_path: Path) -> None:
    base = make_workspace(tmp_path, checkpoints.folder)
    done = subprocess.run(
        [host.python, INSIDE / "loading.py", base / "custom_nodes" / PACK_FOLDER],
        env=host.environment(CONES2_BASE=str(base)), stdout=subprocess.PIPE, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["loaded"]
    assert [
        name for name in found["modules"] if name.partition(".")[0] in ("diffusers", "transformers", "accelerate")
    ] == []


def test_quick_test_shows_no_warning(host: Host, checkpoints: Checkpoints, tmp_path: Path) -> None:
    base = make_workspace(tmp_path, checkpoints.folder)
    done = subprocess.run(
        start_command(host, base, "--quick-test-for-ci"),
        cwd=base,
        env=host.environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    lines = (done.stdout + done.stderr).replace(str(base), "BASE").splitlines()
    mine = [line for line in lines if "cones2" in line.lower() or PACK_FOLDER in line]
    assert done.returncode == 0
    assert any("seconds" in line for line in mine), "the host did not report the pack's import time"
    assert [line for line in mine if any(word in line.lower() for word in ("warn", "error", "fail", "cannot"))] == []


SETTINGS = {"seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
GUIDANCE = {"guidance_weight": 0.08, "guided_steps": -1, "recurrence": False, "negative_mode": "outside"}
TABLE = {"colors": "red = dog", "tolerance": 96.0, "weight": 2.5}


def graph(checkpoint: str) -> dict:
    """API prompt: one subject on a picture of one color, sampled one step."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    prompts = {"positive": ["prompt", 0], "negative": ["prompt", 0]}
    links = {"model": ["checkpoint", 0], "latent_image": ["latent", 0], "layout": ["layout", 0]}
    nodes = {
        "checkpoint": ("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        "picture": ("EmptyImage", {**size, "color": 0xFF0000}),
        "layout": ("Cones2ColorLayoutToMasks", {"image": ["picture", 0], **TABLE}),
        "prompt": ("Cones2TextEncode", {"clip": ["checkpoint", 1], "text": "a dog"}),
        "latent": ("EmptyLatentImage", size),
        "sampler": ("Cones2LayoutGuidedKSampler", {**links, **prompts, **SETTINGS, **GUIDANCE}),
        "out": ("SaveLatent", {"samples": ["sampler", 0], "filename_prefix": "cones2"}),
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def test_error_box_shows_our_sentence(host_server: HostServer, checkpoints: Checkpoints) -> None:
    name = checkpoints.make("sd15")
    wrong = graph(name)
    wrong["prompt"]["inputs"]["text"] = "a cat"
    run = host_server.run(wrong)
    assert (run.status, run.error) == (
        "error",
        'the layout places "dog", which is not in the prompt; its words are: a, cat',
    )
    assert host_server.run(graph(name)).status == "success"


def test_absent_residual_is_refused_before_anything_runs(host_server: HostServer, checkpoints: Checkpoints) -> None:
    prompt = graph(checkpoints.make("sd15"))
    prompt["residual"] = {
        "class_type": "Cones2LoadResidual",
        "inputs": {"file": "gone.safetensors", "subject": "", "strength": 1.0},
    }
    prompt["save"] = {
        "class_type": "Cones2SaveResidual",
        "inputs": {"residual": ["residual", 0], "name": "x", "overwrite": False},
    }
    try:
        host_server.queue({name: prompt[name] for name in ("residual", "save")})
        rejected = ""
    except PromptRejected as error:
        rejected = json.dumps(error.body)
    assert "there is no residual" in rejected and "gone.safetensors" in rejected


@pytest.mark.parametrize("kind", ["Cones2LoadResidual", "Cones2LoadGuidanceConfig"])
@pytest.mark.parametrize("name", [None, "", 7, "a\0b", "x" * 10_000, "../gone", "/gone"])
def test_a_name_that_no_file_has_is_one_sentence(host_server: HostServer, kind: str, name: object) -> None:
    inputs = {
        "Cones2LoadResidual": {"file": name, "subject": "", "strength": 1.0},
        "Cones2LoadGuidanceConfig": {"config": name, "entry": 1, "clip": ["demo", 1]},
    }[kind]
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["load", 0]}}
    demo = {"class_type": "Cones2LoadDemoModel", "inputs": {}}
    prompt = {"demo": demo, "load": {"class_type": kind, "inputs": inputs}, "show": shown}
    try:
        said = host_server.run(prompt).error
    except PromptRejected as error:
        said = json.dumps(error.body)
    print(said)
    assert "there is no " in said and "Error" not in said and len(said) < 5000
