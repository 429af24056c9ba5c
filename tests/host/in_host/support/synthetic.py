"""Writes small random checkpoints that ComfyUI's own loader accepts. Runs in the host's Python.

`python synthetic.py FOLDER NAME…` writes those of `SPECS` as FOLDER/NAME.safetensors. The shapes
come from the host's model classes, built on the meta device, so that only the sizes are decided here.
"""

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import hostboot  # noqa: F401  first import of the host: sets its options
import torch
from safetensors.torch import save_file

# isort: split

import comfy.ops
from comfy.clip_model import CLIPTextModel
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.taesd.taesd import TAESD

META = torch.device("meta")
OPS = comfy.ops.disable_weight_init
SHORT = 3  # layers of a shortened text encoder: SD 2.x and SDXL read the last but one
V_MARKER = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@dataclass(frozen=True)
class TextEncoder:
    """One CLIP text model: where the checkpoint keeps it, the host's config, how many layers."""

    prefix: str
    config: str
    key: str  # name of the host option that overrides the config
    layers: int


CLIP_L = TextEncoder("cond_stage_model.transformer.", "sd1_clip_config.json", "clip_l", 12)
CLIP_H = TextEncoder("cond_stage_model.model.transformer.", "text_encoders/sd2_clip_config.json", "clip_h", 24)
SDXL_L = replace(CLIP_L, prefix="conditioner.embedders.0.transformer.")
SDXL_G = TextEncoder("conditioner.embedders.1.model.transformer.", "clip_config_bigg.json", "clip_g", 32)


@dataclass(frozen=True)
class Spec:
    """A checkpoint: the UNet's arguments, its text encoders and whether it predicts velocity."""

    unet: dict
    encoders: tuple[TextEncoder, ...]
    velocity: bool = False
    short_text: bool = False  # three layers per encoder: loads only through hostkit.load_checkpoint


def unet_arguments(**changes) -> dict:
    """Two levels of 320 channels with cross-attention in each: as little as the loader recognizes."""
    small = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320,
        "num_res_blocks": [1, 1], "channel_mult": [1, 1], "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
        "use_spatial_transformer": True, "legacy": False,
    }  # fmt: skip
    return small | changes


SD1 = unet_arguments(context_dim=768, num_heads=8)
SD2 = unet_arguments(context_dim=1024, num_head_channels=64, use_linear_in_transformer=True)
# transformer_depth [0, 2, 5] is the smallest SDXL layout the host knows (KOALA)
SDXL = unet_arguments(
    context_dim=2048, num_head_channels=64, use_linear_in_transformer=True,
    num_res_blocks=[1, 1, 1], channel_mult=[1, 1, 1], transformer_depth=[0, 2, 5],
    transformer_depth_output=[0, 0, 2, 2, 5, 5], transformer_depth_middle=5,
    num_classes="sequential", adm_in_channels=2816,
)  # fmt: skip

SPECS = {
    "sd15": Spec(SD1, (CLIP_L,)),
    "sd21": Spec(SD2, (CLIP_H,)),
    "sd21_v": Spec(SD2, (CLIP_H,), velocity=True),
    "sdxl": Spec(SDXL, (SDXL_L, SDXL_G)),
}
SPECS |= {f"{name}_short": replace(spec, short_text=True) for name, spec in list(SPECS.items())}


def text_config(encoder: TextEncoder) -> dict:
    """The host's own configuration of `encoder`."""
    return json.loads((Path(comfy.ops.__file__).parent / encoder.config).read_text())


def random_weight(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Weights that keep activations near unit size: norms are identities, the rest is scaled by fan-in."""
    if len(shape) == 0:
        return torch.tensor(1.0 if name.endswith("scale") else 0.0)
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    values = torch.randn(shape, generator=generator)
    if "embedding" in name:
        return values * 0.02 if "position" in name else values * 0.5
    return values * shape[1:].numel() ** -0.5


def random_state(module: torch.nn.Module, prefix: str, generator: torch.Generator) -> dict:
    """Random values for every weight of `module`, named as in a checkpoint."""
    shapes = ((name, value.shape) for name, value in module.state_dict().items())
    return {prefix + name: random_weight(name, shape, generator).half() for name, shape in shapes}


def steer_output(unet: dict, velocity: bool) -> None:
    """Make the prediction sane: a noise network answers mostly with its normalized input, so that sampling ends
    near unit size instead of blowing up; the random part, which depends on the prompt, is a tenth of it.

    The input travels through the last skip connection as +x and -x: silu(x) - silu(-x) = x. The rest of the
    first normalization group (ten channels) stays zero.
    """
    unet["out.2.weight"] *= 0.1
    if velocity:
        return
    last = max(int(name.split(".")[1]) for name in unet if name.startswith("output_blocks."))
    block = f"output_blocks.{last}"
    for name in ("input_blocks.0.0.weight", f"{block}.0.skip_connection.weight", f"{block}.0.out_layers.3.weight"):
        unet[name][:10] = 0
    if f"{block}.1.proj_out.weight" in unet:
        unet[f"{block}.1.proj_out.weight"][:10] = 0
    unet["out.2.weight"][:, :10] = 0
    for i in range(8):
        sign = 1.0 if i < 4 else -1.0
        unet["input_blocks.0.0.weight"][i, i % 4, 1, 1] = sign
        unet[f"{block}.0.skip_connection.weight"][i, 320 + i, 0, 0] = 1.0
        unet["out.2.weight"][i % 4, i, 1, 1] = sign * 0.8**0.5  # eight of the group's ten channels carry it


def unet_state(spec: Spec, generator: torch.Generator) -> dict:
    unet = UNetModel(**spec.unet, dtype=torch.float16, device=META, operations=OPS)
    state = random_state(unet, "", generator)
    steer_output(state, spec.velocity)
    return {"model.diffusion_model." + name: value for name, value in state.items()}


def encoder_state(encoder: TextEncoder, layers: int, generator: torch.Generator) -> dict:
    config = text_config(encoder) | {"num_hidden_layers": layers}
    model = CLIPTextModel(config, torch.float16, META, OPS)
    return random_state(model, encoder.prefix, generator)


def checkpoint_state(spec: Spec, seed: int = 0) -> dict:
    """The whole checkpoint of `spec`: UNet, text encoders and a TAESD-layout VAE."""
    generator = torch.Generator().manual_seed(seed)
    state = unet_state(spec, generator)
    for encoder in spec.encoders:
        state |= encoder_state(encoder, SHORT if spec.short_text else encoder.layers, generator)
    state |= random_state(TAESD(), "first_stage_model.", generator)
    if spec.velocity:
        state[V_MARKER] = torch.linspace(-1, 1, 320).half()  # the loader looks at its spread
    return state


def write_checkpoint(name: str, path: Path) -> None:
    """Write checkpoint `name` to `path`; the metadata says how many text layers it has."""
    spec = SPECS[name]
    short = {f"{e.key}_model_config": {"num_hidden_layers": SHORT} for e in spec.encoders if spec.short_text}
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(checkpoint_state(spec), part, metadata={"te_model_options": json.dumps(short)})
    os.replace(part, path)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        write_checkpoint(name, Path(sys.argv[1]) / f"{name}.safetensors")
