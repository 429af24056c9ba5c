"""Single-file checkpoints in the original (LDM) layout: SD 1.x, 2.x and SDXL of any depth and width.

Configurations are read off the weights, so nothing needs to be looked up anywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..families.family import family_of_width
from ..messages import shown
from ..sampling.noise import Prediction, make_noise
from ..sampling.schedule import scaled_linear_alphas
from .latent_model import DiffusersModel
from .text import ClipText

StateDict = Mapping[str, Tensor]

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_TINY_VAE = _VAE + "taesd_"
_CLIP = ("cond_stage_model.transformer.text_model.", "cond_stage_model.model.transformer.text_model.")
_OPEN_CLIP = "cond_stage_model.model."
_XL_CLIP = "conditioner.embedders.0.transformer.text_model."
_XL_OPEN_CLIP = "conditioner.embedders.1.model."
_XL_LABEL = _UNET + "label_emb.0.0.weight"
_XL_TIME_IDS = 6
_SD2_LAYERS = 23  # SD 2 reads the last but one of OpenCLIP's 24 layers; some files leave the last out
_LAYER = "encoder.layers.{}.layer_norm1.weight"
_SD_SCALING = 0.18215
_XL_SCALING = 0.13025
# The spread of this bias distinguishes SD 2.1's velocity models from its noise models, as ComfyUI does.
_VELOCITY_MARK = _UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"
_VELOCITY_SPREAD = 0.09
_SD1_HEADS = 8
_SD2_HEAD_WIDTH = 64


def load_single_file(path: Path, tokenizer: Any) -> DiffusersModel:
    """The model in a checkpoint file. Raises ModelError for a file that is not an SD 1.x, 2.x or SDXL checkpoint."""
    state = _read(path)
    is_xl = _XL_LABEL in state
    text_parts = (_XL_CLIP, _XL_OPEN_CLIP) if is_xl else ("cond_stage_model.",)
    for prefix, part in ((_UNET, "UNet"), (_VAE, "VAE"), *((prefix, "text encoder") for prefix in text_parts)):
        if not any(key.startswith(prefix) for key in state):
            kind = "an SDXL checkpoint with both text encoders" if is_xl else "a Stable Diffusion 1.x or 2.x checkpoint"
            raise ModelError(f"{shown(path.name)} is not {kind}: it has no {part} ({prefix}…)")
    try:
        return _xl_model(state, tokenizer) if is_xl else _sd_model(state, tokenizer)
    except (KeyError, RuntimeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{shown(path.name)} cannot be converted: {shown(reason)}") from error


def _sd_model(state: StateDict, tokenizer: Any) -> DiffusersModel:
    text = _text_weights(state)
    family = family_of_width(text["embeddings.token_embedding.weight"].shape[1])
    is_sd2 = family is not None and family.key == "sd2"
    if is_sd2:
        tokenizer.pad_token = "!"
    return DiffusersModel(
        ClipText([tokenizer], nn.ModuleList([_text_encoder(text, is_sd2)])),
        _unet(state, _unet_config(state, is_sd2)),
        _any_vae(state, _SD_SCALING),
        make_noise(_prediction_type(state), scaled_linear_alphas()),
    )


def _xl_model(state: StateDict, tokenizer: Any) -> DiffusersModel:
    second = copy.deepcopy(tokenizer)
    second.pad_token = "!"
    encoders = nn.ModuleList([_text_encoder(_with_prefix(state, _XL_CLIP), False), _xl_text_encoder(state)])
    return DiffusersModel(
        ClipText([tokenizer, second], encoders, penultimate=True),
        _unet(state, {**_unet_config(state, True), **_xl_config(state)}),
        _any_vae(state, _XL_SCALING),
        make_noise(_prediction_type(state), scaled_linear_alphas()),
    )


def _read(path: Path) -> StateDict:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds; all mean an unreadable file
        raise ModelError(
            f"{shown(path.name)} cannot be read as a checkpoint: it is damaged, or holds more than tensors"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _prediction_type(state: StateDict) -> Prediction:
    mark = state.get(_VELOCITY_MARK)
    velocity = "v_pred" in state or (mark is not None and float(mark.float().std(unbiased=False)) > _VELOCITY_SPREAD)
    return "v_prediction" if velocity else "epsilon"


def _unet(state: StateDict, config: dict[str, Any]) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    unet: Any = UNet2DConditionModel(**config)
    unet.load_state_dict(convert_ldm_unet_checkpoint(dict(state), unet.config))
    return unet


def _unet_config(state: StateDict, is_sd2: bool) -> dict[str, Any]:
    levels = _unet_levels(state)
    channels = [channel for channel, _, _ in levels]
    attends = [bool(depth) for _, _, depth in levels]
    first = state[_UNET + "input_blocks.0.0.weight"]
    to_k = next(value for key, value in state.items() if key.startswith(_UNET) and key.endswith("attn2.to_k.weight"))
    proj_in = next(value for key, value in state.items() if key.startswith(_UNET) and key.endswith(".proj_in.weight"))
    return {
        "sample_size": 96 if is_sd2 else 64,
        "in_channels": first.shape[1],
        "out_channels": state[_UNET + "out.2.weight"].shape[0],
        "block_out_channels": tuple(channels),
        "layers_per_block": levels[0][1],
        "down_block_types": tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attends),
        "up_block_types": tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attends)),
        "cross_attention_dim": to_k.shape[1],
        "attention_head_dim": [channel // _SD2_HEAD_WIDTH for channel in channels] if is_sd2 else _SD1_HEADS,
        "use_linear_projection": proj_in.ndim == 2,
    }


def _xl_config(state: StateDict) -> dict[str, Any]:
    """What SDXL's UNet has beside those of SD 2.x: deep transformers, pooled text and picture sizes."""
    told = state[_XL_LABEL].shape[1]
    pooled = len(_xl_text_weights(state)["text_projection.weight"])
    return {
        "sample_size": 128,
        "transformer_layers_per_block": [max(1, depth) for _, _, depth in _unet_levels(state)],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (told - pooled) // _XL_TIME_IDS,
        "projection_class_embeddings_input_dim": told,
    }


def _unet_levels(state: StateDict) -> list[tuple[int, int, int]]:
    """(channels, residual blocks, cross-attentions per block) of each resolution, from fine to coarse."""
    levels: list[tuple[int, int, int]] = []
    channels, blocks, depth, index = 0, 0, 0, 1
    while any(key.startswith(f"{_UNET}input_blocks.{index}.") for key in state):
        prefix = f"{_UNET}input_blocks.{index}."
        if prefix + "0.op.weight" in state:
            levels.append((channels, blocks, depth))
            blocks, depth = 0, 0
        else:
            channels = state[prefix + "0.out_layers.3.weight"].shape[0]
            blocks += 1
            depth = max(depth, _count(state, prefix + "1.transformer_blocks.{}.attn2.to_k.weight"))
        index += 1
    return [*levels, (channels, blocks, depth)]


def _any_vae(state: StateDict, scaling: float) -> Any:
    return _tiny_vae(state, scaling) if _TINY_VAE + "decoder.1.weight" in state else _vae(state, scaling)


def _vae(state: StateDict, scaling: float) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    channels: list[int] = []
    while (key := f"{_VAE}encoder.down.{len(channels)}.block.0.conv1.weight") in state:
        channels.append(state[key].shape[0])
    if not channels:
        raise ModelError("the checkpoint's VAE is not an AutoencoderKL (no first_stage_model.encoder.down…)")
    blocks = _count(state, _VAE + "encoder.down.0.block.{}.conv1.weight")
    vae: Any = AutoencoderKL(
        block_out_channels=tuple(channels),
        layers_per_block=blocks,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        latent_channels=state[_VAE + "post_quant_conv.weight"].shape[1],
        scaling_factor=scaling,
    )
    vae.load_state_dict(convert_ldm_vae_checkpoint(dict(state), vae.config))
    return vae


def _tiny_vae(state: StateDict, scaling: float) -> Any:
    """A TAESD autoencoder; its decoder's first entry is a clamp that AutoencoderTiny does not count."""
    from diffusers import AutoencoderTiny

    weights = {}
    for key, value in state.items():
        if key.startswith(_TINY_VAE):
            side, index, rest = key.removeprefix(_TINY_VAE).split(".", 2)
            weights[f"{side}.layers.{int(index) - (side == 'decoder')}.{rest}"] = value
    scale = float(state.get(_VAE + "vae_scale", torch.tensor(1.0)))
    vae: Any = AutoencoderTiny(scaling_factor=scaling / scale)
    vae.load_state_dict(weights)
    return vae


def _text_weights(state: StateDict) -> StateDict:
    """The text encoder's weights by CLIPTextModel's names without "text_model."."""
    for prefix in _CLIP:
        if prefix + "embeddings.token_embedding.weight" in state:
            return _with_prefix(state, prefix)
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    width = state[_OPEN_CLIP + "token_embedding.weight"].shape[1]
    plain = {key: value for key, value in state.items() if not key.endswith("text_projection")}
    converted = convert_open_clip_checkpoint(_ModelOfWidth(width), plain)
    return {key.removeprefix("text_model."): value for key, value in converted.items()}


def _with_prefix(state: StateDict, prefix: str) -> StateDict:
    """The weights whose names begin so, without the beginning."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _xl_text_encoder(state: StateDict) -> Any:
    """SDXL's second text encoder with the projection of its pooled text, by OpenCLIP's names or transformers'."""
    from transformers import CLIPTextModelWithProjection

    weights = {key.removeprefix("text_model."): value for key, value in _xl_text_weights(state).items()}
    projection = weights["text_projection.weight"]
    model = CLIPTextModelWithProjection(_text_config(weights, "gelu", projection_dim=len(projection)))
    _load_text(model, weights)
    return model


def _xl_text_weights(state: StateDict) -> StateDict:
    if _XL_OPEN_CLIP + "token_embedding.weight" not in state:
        return _with_prefix(state, _XL_OPEN_CLIP + "transformer.")
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    width = state[_XL_OPEN_CLIP + "token_embedding.weight"].shape[1]
    converted: StateDict = convert_open_clip_checkpoint(_ModelOfWidth(width), dict(state), prefix=_XL_OPEN_CLIP)
    return converted


def _text_encoder(weights: StateDict, is_sd2: bool) -> Any:
    from transformers import CLIPTextModel

    layers = _count(weights, _LAYER)
    kept = layers - 1 if is_sd2 and layers != _SD2_LAYERS else layers
    model = CLIPTextModel(_text_config(weights, "gelu" if is_sd2 else "quick_gelu", num_hidden_layers=kept))
    _load_text(model, weights)
    return model


def _text_config(weights: StateDict, activation: str, **more: Any) -> Any:
    from transformers import CLIPTextConfig

    vocabulary, width = weights["embeddings.token_embedding.weight"].shape
    known = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": weights["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _count(weights, _LAYER),
        "num_attention_heads": width // 64,
        "hidden_act": activation,
    }
    return CLIPTextConfig(**{**known, **more})


class _ModelOfWidth:
    """All that diffusers' converter asks of a text model: `model.config.hidden_size`."""

    def __init__(self, width: int) -> None:
        self.config = SimpleNamespace(hidden_size=width)


def _load_text(model: Any, weights: StateDict) -> None:
    """Load into either naming of CLIPTextModel: transformers 5 dropped the "text_model." prefix."""
    prefix = "text_model." if any(key.startswith("text_model.") for key in model.state_dict()) else ""
    named = {key if key.startswith("text_projection") else prefix + key: value for key, value in weights.items()}
    missing, _ = model.load_state_dict(named, strict=False)
    lacking = [key for key in missing if not key.endswith("position_ids")]
    if lacking:
        raise ModelError(f"the checkpoint's text encoder lacks {', '.join(lacking[:3])}")


def _count(state: StateDict, pattern: str) -> int:
    count = 0
    while pattern.format(count) in state:
        count += 1
    return count
