"""Single-file checkpoints on the command line's side: the same weights and words as the host reads from them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cones2.diffusers_models.loading import load_model
from tests.host.client.checkpoints import Checkpoints
from tests.host.client.worker import HostWorker


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        ("sd15_short", "epsilon"),
        ("sd21_short", "epsilon"),
        ("sd21_v_short", "v_prediction"),
        ("sdxl_short", "epsilon"),
    ],
)
def test_engine_reads_what_the_host_reads(
    in_host: HostWorker, checkpoints: Checkpoints, tmp_path: Path, name: str, prediction: str
) -> None:
    in_host.guidance.exported(needs=(name,), name=name, folder=str(tmp_path))
    tokenizer = checkpoints.host.root / "comfy" / "sd1_tokenizer"
    model = load_model(checkpoints.folder / checkpoints.make(name), tokenizer)
    assert model.noise.prediction == prediction
    weights = load_file(tmp_path / "unet.safetensors")
    ours = model.unet.state_dict()
    assert ours.keys() == weights.keys()
    assert all(torch.allclose(ours[key], weights[key], atol=1e-6) for key in ours)
    case = load_file(tmp_path / "case.safetensors")
    positive, negative = model.encode_prompts("a dog and a mug on the beach", "blurry")
    for encoded, expected in ((positive, case["positive"]), (negative, case["negative"])):
        difference = (encoded.conditioning.embeds - expected).norm() / expected.norm()
        assert float(difference) < 2e-3  # the host encodes in half precision
        if name == "sdxl_short":
            pooled = case["positive_pooled" if encoded is positive else "negative_pooled"]
            assert float((encoded.conditioning.pooled - pooled).norm() / pooled.norm()) < 5e-3
