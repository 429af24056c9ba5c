"""The harness itself: the host runs, and synthetic checkpoints behave like models."""

import sys

import pytest

from tests.host.client.discovery import PACK, THREADS
from tests.host.client.server import HostServer
from tests.host.client.worker import HostError, HostWorker
from tests.host.client.workspace import PACK_FOLDER

KINDS = {
    "sd15_short": ("BaseModel", "EPS"),
    "sd21_short": ("BaseModel", "EPS"),
    "sd21_v_short": ("BaseModel", "V_PREDICTION"),
    "sdxl_short": ("SDXL", "EPS"),
}


def test_host_process_is_isolated(in_host: HostWorker) -> None:
    found = in_host.harness.environment()
    assert found["attention"] == "attention_pytorch"
    assert found["threads"] == int(THREADS)
    assert str(PACK) not in found["path"] and "" not in found["path"]
    assert PACK_FOLDER in in_host.started["packs"]


def test_driver_errors_reach_the_test(in_host: HostWorker) -> None:
    with pytest.raises(HostError, match="FileNotFoundError: No such file"):
        in_host.harness.sampled(name="../no such")


@pytest.mark.parametrize("name", KINDS)
def test_synthetic_checkpoint_samples(in_host: HostWorker, name: str) -> None:
    found = in_host.harness.sampled(needs=tuple(KINDS), name=name)
    assert (found["kind"], found["prediction"]) == KINDS[name]
    assert found["latent"]["finite"] and found["picture"]["finite"]
    assert 0.05 < found["latent"]["std"] < 60, found["latent"]
    assert found["repeatable"]
    assert found["prompt_effect"] > 1e-3


def test_server_runs_a_stock_prompt(host_server: HostServer, checkpoints) -> None:
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoints.make("sd15")}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a dog"}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": {
            "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0], "seed": 1,
            "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }  # fmt: skip
    run = host_server.run(prompt)
    assert (run.status, run.error) == ("success", "")
    assert host_server.image(run.outputs["6"]["images"][0]).startswith(b"\x89PNG")


def test_no_host_module_leaks_into_the_test_process() -> None:
    assert "comfy" not in sys.modules
