"""Drivers for recorded runs of the published MIP-Adapter through the host's own UNet class."""

import json
from pathlib import Path

import comfy.ops
import comfy.utils
import scenes
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep, UNetModel
from safetensors.torch import load_file
from torch import Tensor

SHAPE = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "channel_mult": [1, 1, 2],
    "num_res_blocks": [2, 2, 2], "num_head_channels": 16, "transformer_depth": [0, 0, 1, 1, 2, 2],
    "transformer_depth_middle": 2, "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2], "context_dim": 96,
    "adm_in_channels": 112, "num_classes": "sequential", "use_spatial_transformer": True,
    "use_linear_in_transformer": True, "legacy": False,
}  # fmt: skip
HEAD_WIDTH = 16  # of the small resampler


def recorded(folder: str, case: str) -> dict:
    """The first call of a recorded run, with the adapter from its file and without."""
    path = Path(folder) / "MIP4" / f"{case}.json"
    data, stored = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    unet = host_unet(Path(folder) / "models" / "unet.fp16.safetensors")
    adapter = scenes.module("cones2.picture_adapter.adapter_file").load_adapter(
        path.with_suffix(".adapter.bin"), HEAD_WIDTH
    )
    half = len(stored["call0.text"]) // 2
    errors = {"adapted": 0.0, "plain": 0.0}
    for row in range(half):
        rows = [row, half + row]
        options = attending(unet, references(adapter, data, stored, row))
        for name, expected, extra in (
            ("adapted", "call0.out", options),
            ("plain", "call0.out_without_adapter", {}),
        ):
            out = predicted(unet, data, stored, rows, extra)
            errors[name] = max(errors[name], float((out - stored[expected][rows]).abs().max()))
    return errors


def host_unet(path: Path) -> UNetModel:
    unet = UNetModel(**SHAPE, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    names = comfy.utils.unet_to_diffusers(SHAPE)
    unet.load_state_dict({names[key]: value.float() for key, value in load_file(path).items()})
    return unet.eval()


def references(adapter: object, data: dict, stored: dict[str, Tensor], row: int) -> object:
    """The row's subjects, from the recorded image tokens and names."""
    made = scenes.module("cones2.picture_adapter.references")
    phrase = scenes.module("cones2.prompt.claims").PhraseRef
    half = len(stored["call0.text"]) // 2
    tokens, text = stored["call0.image_tokens"], stored["call0.entity_text_rows0_15"][half + row]
    lengths = data["entity_token_lengths_per_row"][half + row]
    return made.References(
        tuple(phrase(str(number)) for number in range(len(lengths))),
        tuple(text[number, 1 : 1 + length] for number, length in enumerate(lengths)),
        (1.0,) * len(lengths),
        made.layer_pictures(adapter, torch.cat([tokens[half + row], tokens[row, :1]])),
        data["scale"],
    )


def attending(unet: UNetModel, own: object) -> dict:
    """transformer_options of a call whose first entry is unconditional."""
    pictures, attention = scenes.module("nodes.host.attention.pictures"), scenes.module("nodes.host.attention.unet")
    modules = pictures._cross_attentions(unet)
    chunks = [pictures._Chunk(True, None), pictures._Chunk(False, None)]
    forward = pictures._Forward(own, pictures._Run(), chunks, modules)
    return attention.with_attention({"cond_or_uncond": [1, 0]}, list(modules), forward)


def predicted(unet: UNetModel, data: dict, stored: dict[str, Tensor], rows: list[int], options: dict) -> Tensor:
    sizes = Timestep(8)(stored["call0.time_ids"][rows].flatten()).view(len(rows), -1)
    y = torch.cat([stored["call0.pooled"][rows], sizes], 1)
    times = torch.full((len(rows),), float(data["timestep_call0"]))
    with torch.inference_mode():
        return unet(
            stored["call0.sample"][rows], times, stored["call0.text"][rows], y=y, transformer_options=dict(options)
        )
