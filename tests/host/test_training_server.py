"""Training in a running server: a dataset loader's photos, re-queues, the interrupt button."""

import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.host.client.server import HostServer

PHOTOS = Path(__file__).resolve().parents[1] / "photos" / "dog"


@pytest.fixture(scope="module")
def prompt(host_server: HostServer) -> dict[str, Any]:
    """API prompt: a folder of photos of different sizes → Train Residual → the host's loss graph."""
    folder = host_server.base / "input" / "dog photos"
    folder.mkdir()
    for path, size in zip(sorted(PHOTOS.glob("*.jpg")), ((160, 96), (96, 128), (100, 100)), strict=False):
        with Image.open(path) as picture:
            picture.resize(size).save(folder / path.name)
    train = {
        "model": ["model", 0], "clip": ["model", 1], "vae": ["model", 2], "images": ["photos", 0],
        "subject": "dog", "method": "direct", "steps": 3, "learning_rate": 0.0, "resolution": 64, "batch_size": 8,
        "accumulation": 1, "seed": 0, "save_name": "served", "gradient_checkpointing": False, "preview_every": 0,
    }  # fmt: skip
    return {
        "model": {"class_type": "Cones2LoadDemoModel", "inputs": {}},
        "photos": {"class_type": "LoadImageDataSetFromFolder", "inputs": {"folder": folder.name}},
        "train": {"class_type": "Cones2TrainResidual", "inputs": train},
        "graph": {"class_type": "LossGraphNode", "inputs": {"loss": ["train", 1], "filename_prefix": "loss"}},
        "curve": {"class_type": "PreviewImage", "inputs": {"images": ["train", 2]}},
    }


def changed(prompt: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    train = prompt["train"]
    return {**prompt, "train": {**train, "inputs": {**train["inputs"], **inputs}}}


def residuals(server: HostServer) -> list[str]:
    return sorted(path.name for path in (server.base / "models" / "residuals").glob("served*"))


@pytest.mark.slow
def test_a_folder_of_photos_is_learned_once(host_server: HostServer, prompt: dict[str, Any]) -> None:
    first = host_server.run(prompt)
    assert (first.status, first.error) == ("success", "")
    assert first.outputs["curve"]["images"]
    again = host_server.run(prompt)
    assert again.status == "success" and {"train", "photos", "model"} <= again.cached
    assert residuals(host_server) == ["served.safetensors"]
    other = host_server.run(changed(prompt, seed=1))
    assert other.status == "success" and "train" not in other.cached
    assert residuals(host_server) == ["served.safetensors", "served_2.safetensors"]


def test_training_can_be_queued_alone(host_server: HostServer, prompt: dict[str, Any]) -> None:
    alone = {name: prompt[name] for name in ("model", "photos", "train")}
    alone = changed(alone, seed=3, save_name="alone")
    first, again = host_server.run(alone), host_server.run(alone)
    assert (first.status, first.error) == ("success", "") and "train" not in first.cached
    assert again.status == "success" and "train" in again.cached
    assert [path.name for path in (host_server.base / "models" / "residuals").glob("alone*")] == ["alone.safetensors"]


def test_the_interrupt_button_ends_a_run_within_a_step(host_server: HostServer, prompt: dict[str, Any]) -> None:
    saved = residuals(host_server)
    with host_server.messages() as messages:
        running = host_server.queue(changed(prompt, steps=100_000, seed=2, recipe="photos"))
        messages.wait_for("progress", 180, node="train")
    pressed = time.monotonic()
    host_server.interrupt()
    run = host_server.wait(running, 60)
    assert time.monotonic() - pressed < 20
    assert "execution_interrupted" in [kind for kind, _ in run.messages]
    assert len(list((host_server.base / "output" / "cones2_training").glob("*.checkpoint.pt"))) == 1
    assert residuals(host_server) == saved
