"""The host's guided prediction against the engine's own UNet path on the same weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cones2.diffusers_models.attention import ForwardState, guided_unet
from cones2.guidance.cross_attention import LayoutBias
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import layout_from_masks
from cones2.sampling.noise import log_growth
from tests.host.client.worker import HostWorker

diffusers = pytest.importorskip("diffusers")


def engine_unet(path: Path, context: int) -> torch.nn.Module:
    """The synthetic SD 1.x UNet: two levels of 320 channels with cross-attention in each."""
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(320, 320),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=context,
        attention_head_dim=8,
    )
    unet.load_state_dict(load_file(path))
    return unet.eval()


def test_host_and_engine_predict_the_same(in_host: HostWorker, tmp_path: Path) -> None:
    name = "sd15_short"
    facts = in_host.guidance.exported(needs=(name,), name=name, folder=str(tmp_path))
    case = load_file(tmp_path / "case.safetensors")
    unet = engine_unet(tmp_path / "unet.safetensors", facts["context"])
    layout = layout_from_masks([case["mask_dog"], case["mask_mug"]], ["dog", "mug"])
    guidance = LayoutBias(weight_maps(layout, [((2,),), ((5,),)]))
    sigma, x = facts["sigma"], case["noise"]
    scaled = (x / (1 + sigma**2) ** 0.5).repeat(2, 1, 1, 1)
    context = torch.cat([case["positive"], case["negative"]])
    with torch.no_grad(), guided_unet(unet, ForwardState((guidance,), log_growth(sigma), slice(0, 1))):
        guided, unguided = unet(scaled, case["timestep"], context).sample.chunk(2)
    denoised = x - sigma * (unguided + (guided - unguided) * facts["cfg"])
    assert float((denoised - case["denoised"]).norm() / denoised.norm()) < 1e-4
    assert float((denoised - case["denoised"]).abs().max() / denoised.abs().max()) < 1e-4
