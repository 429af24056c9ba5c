"""The toy world's transformer computes the same in diffusers' class and, with the same weights, in ComfyUI's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.host.client.worker import HostWorker

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tools.toyworld import dit, flow


def test_the_hosts_class_takes_the_weights_as_they_are(in_host: HostWorker, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = dit.new_dit()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(tmp_path)
    case = {
        "latents": torch.randn(2, 4, 16, 24),
        "level": torch.tensor([0.2, 0.9]),
        "context": torch.randn(2, 11, 128),
        "reference0": torch.randn(2, 4, 8, 8),
        "reference1": torch.randn(2, 4, 16, 12),
    }
    save_file(case, tmp_path / "case.safetensors")
    in_host.transformer.computed(folder=str(tmp_path), network=dit.NETWORK)
    found = load_file(tmp_path / "host.safetensors")
    rows = torch.ones(2, 11, dtype=torch.bool)
    for count in range(3):
        references = [case[f"reference{number}"] for number in range(count)]
        with torch.no_grad():
            expected = flow.velocity(network, case["latents"], case["level"], case["context"], rows, references)
        difference = float((found[f"velocity{count}"] - expected).abs().max())
        print(f"{count} references: largest difference {difference:.1e} of {float(expected.abs().max()):.1f}")
        assert difference < 1e-4
