"""The demo model in the host's own classes: the miniature Stable Diffusion that comes with the pack."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import comfy.clip_model
import comfy.diffusers_convert
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ...cones2.assets import TOYWORLD
from ...cones2.errors import ModelError

_WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}
_TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")


class _Latents(comfy.latent_formats.LatentFormat):
    """Half as coarse as Stable Diffusion's: hosts size empty latents by this number."""

    spacial_downscale_ratio = 4
    # by least squares from the latents of 256 scenes of the toy world (seed 0) to their pixels: 89 % of the variance
    latent_rgb_factors = (
        (0.349, -1.048, -1.009),
        (1.121, -1.799, -1.705),
        (-0.081, -0.314, -0.464),
        (-0.361, 1.359, 0.838),
    )
    latent_rgb_factors_bias = (0.342, -0.769, -0.6)


class _DemoConfig(comfy.supported_models.SD15):
    """Stable Diffusion 1.5 in small, with v-prediction; never offered to the host's detection of checkpoints."""

    unet_extra_config: ClassVar[dict[str, Any]] = {}  # SD 1.5 would put its number of heads here
    latent_format = _Latents

    def model_type(self, state_dict: dict[str, Tensor], prefix: str = "") -> comfy.model_base.ModelType:
        return comfy.model_base.ModelType.V_PREDICTION


class _TextModel(comfy.clip_model.CLIPTextModel):
    """The host's CLIP text model with a vocabulary of the config's size, not CLIP's 49408."""

    def __init__(self, config: dict[str, Any], dtype: Any, device: Any, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        words = operations.Embedding(config["vocab_size"], config["hidden_size"], dtype=dtype, device=device)
        self.set_input_embeddings(words)


def load_model() -> comfy.model_patcher.ModelPatcher:
    """MODEL in float32, 17 MB: float16 would move the velocity by up to 0.004, bfloat16 by 0.04."""
    unet_config = _unet_config(_config("unet"))
    names = comfy.utils.unet_to_diffusers(unet_config)
    weights = {names[key]: tensor for key, tensor in _weights("unet").items()}
    config = _DemoConfig(unet_config)
    config.latent_format.scale_factor = _config("vae")["scaling_factor"]
    config.set_inference_dtype(torch.float32, None)
    home = comfy.model_management.unet_offload_device()
    model = config.get_model(weights, device=home)
    model.load_model_weights(weights)
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=home
    )


def _unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """diffusers' description of a UNet with cross-attention at every level as the host's."""
    channels, layers = config["block_out_channels"], config["layers_per_block"]
    depth = config["transformer_layers_per_block"]
    return {
        "image_size": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "channel_mult": [count // channels[0] for count in channels],
        "num_res_blocks": [layers] * len(channels),
        "transformer_depth": [depth] * layers * len(channels),
        "transformer_depth_middle": depth,
        "transformer_depth_output": [depth] * (layers + 1) * len(channels),
        "context_dim": config["cross_attention_dim"],
        "num_heads": config["attention_head_dim"],  # diffusers gave this number the other's name
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config["use_linear_projection"],
        "legacy": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


def load_clip() -> comfy.sd.CLIP:
    """CLIP: the last layer after the final norm, as SD 1.x is conditioned."""
    config = _config("text_encoder")
    encoder = partial(
        comfy.sd1_clip.SDClipModel,
        textmodel_json_config=config,
        model_class=_TextModel,
        special_tokens={"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]},
        return_projected_pooled=False,
    )
    tokenizer = partial(
        comfy.sd1_clip.SDTokenizer, tokenizer_path=str(TOYWORLD / "tokenizer"), embedding_size=config["hidden_size"]
    )
    target = comfy.supported_models_base.ClipTarget(
        partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=tokenizer),
        partial(comfy.sd1_clip.SD1ClipModel, clip_model=encoder),
    )
    prefix = "clip_l.transformer."
    weights = {
        f"{prefix}text_model.{key.removeprefix('text_model.')}": tensor
        for key, tensor in _weights("text_encoder").items()
    }
    weights[f"{prefix}text_projection.weight"] = torch.eye(config["hidden_size"])  # the host's class has one
    return comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        state_dict=weights,
        parameters=sum(tensor.numel() for tensor in weights.values()),
    )


def load_vae() -> comfy.sd.VAE:
    """VAE in float32: bfloat16, the host's choice on many GPUs, moves pixels by up to 3.5 of 255."""
    config = _config("vae")
    channels = config["block_out_channels"]
    params = {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": channels[0],
        "ch_mult": [count // channels[0] for count in channels],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    vae = comfy.sd.VAE(
        _vae_weights(levels=len(channels)),
        config={"params": {"ddconfig": params, "embed_dim": config["latent_channels"]}},
        dtype=torch.float32,
    )
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(channels) - 1)
    return vae


def _vae_weights(levels: int) -> dict[str, Tensor]:
    """The host counts the decoder's levels down from 3, as if there were always four of them."""
    weights = comfy.diffusers_convert.convert_vae_state_dict(_weights("vae"))
    level = re.compile(r"(?<=^decoder\.up\.)\d")
    return {level.sub(lambda n: str(int(n[0]) - 4 + levels), key): tensor for key, tensor in weights.items()}


def _config(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TOYWORLD / part / "config.json").read_text(encoding="utf-8"))
    return found


def _weights(part: str) -> dict[str, Tensor]:
    stored = comfy.utils.load_torch_file(str(TOYWORLD / part / _WEIGHTS[part]))
    return {key: tensor.float() for key, tensor in stored.items()}


def check_files() -> None:
    """Raise ModelError naming the files of the demo model that are not there."""
    wanted = [f"{part}/{name}" for part, weights in _WEIGHTS.items() for name in ("config.json", weights)]
    wanted += [f"tokenizer/{name}" for name in _TOKENIZER]
    missing = [name for name in wanted if not Path(TOYWORLD, name).is_file()]
    if missing:
        raise ModelError(f"the demo model in {TOYWORLD} lacks {', '.join(missing)}: install the pack anew")
