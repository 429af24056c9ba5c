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


SHAPES = {
    "sd15_short": {
        "block_out_channels": (320, 320),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 8,
    },
    "sdxl_short": {
        "block_out_channels": (320, 320, 320),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 5),
        "attention_head_dim": (5, 5, 5),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
"""The synthetic UNets: levels of 320 channels."""


def engine_unet(name: str, path: Path, context: int) -> torch.nn.Module:
    unet = diffusers.UNet2DConditionModel(layers_per_block=1, cross_attention_dim=context, **SHAPES[name])
    unet.load_state_dict(load_file(path))
    return unet.eval()


def added(case: dict[str, torch.Tensor], x: torch.Tensor) -> dict[str, torch.Tensor] | None:
    """What SDXL is told beside the text: pooled text, and the picture's size with nothing cut off."""
    if "positive_pooled" not in case:
        return None
    height, width = (8 * side for side in x.shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    pooled = torch.cat([case["positive_pooled"], case["negative_pooled"]])
    return {"text_embeds": pooled, "time_ids": sizes.repeat(2, 1)}


@pytest.mark.parametrize("name", list(SHAPES))
def test_host_and_engine_predict_the_same(in_host: HostWorker, tmp_path: Path, name: str) -> None:
    facts = in_host.guidance.exported(needs=(name,), name=name, folder=str(tmp_path))
    case = load_file(tmp_path / "case.safetensors")
    unet = engine_unet(name, tmp_path / "unet.safetensors", facts["context"])
    layout = layout_from_masks([case["mask_dog"], case["mask_mug"]], ["dog", "mug"])
    guidance = LayoutBias(weight_maps(layout, [((2,),), ((5,),)]))
    sigma, x = facts["sigma"], case["noise"]
    scaled = (x / (1 + sigma**2) ** 0.5).repeat(2, 1, 1, 1)
    context = torch.cat([case["positive"], case["negative"]])
    with torch.no_grad(), guided_unet(unet, ForwardState((guidance,), log_growth(sigma), slice(0, 1))):
        output = unet(scaled, case["timestep"], context, added_cond_kwargs=added(case, x)).sample
    guided, unguided = output.chunk(2)
    denoised = x - sigma * (unguided + (guided - unguided) * facts["cfg"])
    assert float((denoised - case["denoised"]).norm() / denoised.norm()) < 1e-4
    assert float((denoised - case["denoised"]).abs().max() / denoised.abs().max()) < 1e-4
