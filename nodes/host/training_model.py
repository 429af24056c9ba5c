"""The host's MODEL, CLIP and VAE as training sees them, left bit for bit as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MethodType
from typing import Any, Literal

import comfy.model_management
import torch
from comfy.clip_model import CLIPLayer
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_sampling import EPS, V_PREDICTION, ModelSamplingDiscrete
from torch import Tensor

from ...cones2.errors import ModelError
from ...cones2.training.config import MethodName
from ...cones2.training.model import Conditioning, Posterior, TrainingModel
from .differentiable import cast_copy, differentiable
from .prompt_record import LiveTokenizer, read_prompt

_SUPPORTED = "training needs an SD 1.x, SD 2.x or SDXL model"


@contextmanager
def trainable_model(
    model: Any, clip: Any, vae: Any, method: MethodName, checkpointing: bool
) -> Iterator[TrainingModel]:
    """The callables; inside, gradients work although the host runs nodes in inference mode.

    The paper method tunes a float32 copy of the text encoder. Raises ModelError for another architecture.
    """
    factor, multiple = picture_grid(model, clip, vae)
    record, _ = read_prompt(clip, "")
    model = _own_casting(model)
    unet = _UNet(model, checkpointing)
    encoder = _TunableText(clip) if method == "paper" else None
    encode = encoder or _frozen_text(clip)
    device = model.load_device

    def encode_text(prompts: Sequence[str]) -> Conditioning:
        parts = [encode(prompt) for prompt in prompts]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        rows = torch.cat([part.rows for part in parts]).to(device)
        return Conditioning(rows, torch.cat(pooled).to(device) if pooled and record.family == "sdxl" else None)

    def encode_image(pixels: Tensor) -> Posterior:
        with torch.inference_mode():
            latents = model.model.process_latent_in(vae.encode((pixels.movedim(1, -1) + 1) / 2))
        return Posterior(latents.clone(), torch.zeros_like(latents))

    sampling = model.get_model_object("model_sampling")
    with torch.no_grad():
        width = encode("").rows.shape[-1]
    if width != (wanted := _unet_config(model).get("context_dim")):
        raise ModelError(
            f"MODEL and CLIP do not belong together: the model reads text of width {wanted}, the CLIP gives {width}"
        )
    try:
        yield TrainingModel(
            prompt_tokens=lambda prompt: read_prompt(clip, prompt)[0].tokens,
            tokenize=LiveTokenizer(clip.tokenizer),
            encode_text=encode_text,
            predict=unet,
            encode_image=encode_image,
            alphas_cumprod=(1 / (sampling.sigmas.detach().cpu().double() ** 2 + 1)).float().clone(),
            prediction_type=prediction_type(model),
            width=width,
            text_weights=encoder.weights if encoder else {},
            device=device,
            factor=factor,
            multiple=multiple,
        )
    finally:
        unet.release()


def picture_grid(model: Any, clip: Any, vae: Any) -> tuple[int, int]:
    """Pixels per latent cell, and the pixels that sides of training pictures are multiples of.

    Raises ModelError for a model that cannot be trained with.
    """
    prediction_type(model)
    _check_unet(model, read_prompt(clip, "")[0].family)
    factor = int(vae.spacial_compression_encode())
    return factor, factor * 2 ** (len(_unet_config(model)["channel_mult"]) - 1)


def prediction_type(model: Any) -> Literal["epsilon", "v_prediction"]:
    """What the UNet predicts. Raises ModelError for a model that predicts neither at all discrete steps."""
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, ModelSamplingDiscrete):
        if len(sampling.sigmas) < sampling.num_timesteps:
            raise ModelError("this model's noise schedule is shortened (LCM): connect the model without it")
        # the formula, not the class: EDM, X0 and LCM are made from these two and change it
        if type(sampling).calculate_denoised is V_PREDICTION.calculate_denoised:
            return "v_prediction"
        if type(sampling).calculate_denoised is EPS.calculate_denoised:
            return "epsilon"
    kinds = ", ".join(base.__name__ for base in type(sampling).__bases__)
    raise ModelError(f"this model predicts by {kinds}, not noise or velocity at discrete steps: {_SUPPORTED}")


def precision_of(model: Any) -> str:
    """Number format the UNet computes in: float32, float16 or bfloat16."""
    return str(_compute_dtype(model)).removeprefix("torch.")


def base_model_name(model: Any) -> str:
    """The checkpoint's file name where the host remembers it, else the kind of model."""
    reload = getattr(model, "cached_patcher_init", None)
    path = reload[1][0] if reload and reload[1] else None
    return Path(path).name if isinstance(path, str) else type(model.model.model_config).__name__.strip("_")


class _UNet:
    """The diffusion model as a function. It is loaded at the first call, when the others are done."""

    def __init__(self, model: Any, checkpointing: bool) -> None:
        self._model, self._checkpointing = model, checkpointing
        self._lent = ExitStack()
        self._loaded = False

    def __call__(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, sizes: Tensor | None) -> Tensor:
        if not self._loaded:
            self._load()
        dtype, device = _compute_dtype(self._model), self._model.load_device
        return self._model.model.diffusion_model(
            noisy.to(device, dtype),
            timesteps.to(device).float(),
            context=conditioning.rows.to(device, dtype),
            y=self._vector(conditioning, sizes, dtype),
            transformer_options={"optimized_attention_override": _attention},
        )

    def release(self) -> None:
        """Put back the host's own weights and forward functions."""
        self._lent.close()

    def _load(self) -> None:
        with torch.inference_mode():
            comfy.model_management.unload_all_models()  # the VAE and text encoder have done their part
            comfy.model_management.load_models_gpu([self._model])
        self._lent.enter_context(differentiable(self._model.model.diffusion_model, self._checkpointing))
        self._loaded = True

    def _vector(self, conditioning: Conditioning, sizes: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """SDXL's pooled text and time ids."""
        if conditioning.pooled is None or sizes is None:
            return None
        names = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")
        vectors = [
            self._model.model.encode_adm(
                pooled_output=pooled[None].cpu(), **dict(zip(names, size.tolist(), strict=True))
            )
            for pooled, size in zip(conditioning.pooled, sizes, strict=True)
        ]
        return torch.cat(vectors).to(self._model.load_device, dtype)


class _TunableText:
    """A float32 copy of the text encoder whose forward pass can be differentiated."""

    def __init__(self, clip: Any) -> None:
        patcher = _own_casting(clip.patcher)
        with torch.inference_mode():
            comfy.model_management.load_models_gpu([patcher])
        self._clip = clip
        self._encoder = copy.deepcopy(patcher.model)
        device = patcher.load_device
        for loaded, part in zip(patcher.model.modules(), self._encoder.modules(), strict=True):
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = _independent(tensor, device)
            if getattr(part, "weight_function", None) or getattr(part, "bias_function", None):
                _bake_patches(loaded, part, device)
            if isinstance(part, CLIPLayer):
                part.forward = MethodType(_layer_out_of_place, part)
        self._encoder.reset_clip_options()
        if clip.layer_idx is not None:
            self._encoder.set_clip_options({"layer": clip.layer_idx})
        self._encoder.set_clip_options({"execution_device": device})
        self.weights = dict(self._encoder.named_parameters())

    def __call__(self, prompt: str) -> Conditioning:
        rows, pooled = self._encoder.encode_token_weights(self._clip.tokenize(prompt))[:2]
        return Conditioning(rows, pooled)


def _frozen_text(clip: Any) -> Callable[[str], Conditioning]:
    def encode(prompt: str) -> Conditioning:
        with torch.inference_mode():
            rows, pooled = clip.encode_from_tokens(clip.tokenize(prompt), return_pooled=True)
        return Conditioning(rows.clone(), None if pooled is None else pooled.clone())

    return encode


def _layer_out_of_place(
    self: CLIPLayer, x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None
) -> Tensor:
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


def _attention(_: Any, *args: Any, **options: Any) -> Tensor:
    """PyTorch's own attention: some of those a host can be started with have no gradient."""
    return attention_pytorch(*args, **options)


def _independent(tensor: Tensor, device: torch.device) -> Tensor:
    """A normal tensor with the values of an inference tensor; floats become float32 parameters."""
    if not isinstance(tensor, torch.nn.Parameter):
        return tensor.to(device, copy=True)
    return torch.nn.Parameter(tensor.detach().to(device, torch.float32, copy=True), requires_grad=True)


def _bake_patches(loaded: Any, part: Any, device: torch.device) -> None:
    """Put into a copied layer's weights what the host would add to them at each call."""
    with torch.no_grad():
        weight, bias = cast_copy(loaded, torch.empty(0, device=device))
    part.weight = torch.nn.Parameter(weight)
    if bias is not None:
        part.bias = torch.nn.Parameter(bias)
    part.weight_function, part.bias_function = [], []


def _own_casting(model: Any) -> Any:
    """The model with the host's older way of loading, where it can give one.

    The newer one maps weights in and out behind PyTorch's back, even between a forward and its backward pass.
    """
    if model.is_dynamic() and model.cached_patcher_init is not None:
        return model.clone(disable_dynamic=True)
    return model


def _compute_dtype(model: Any) -> torch.dtype:
    return model.get_model_object("manual_cast_dtype") or model.model.get_dtype()


def _unet_config(model: Any) -> dict[str, Any]:
    return model.model.model_config.unet_config


def _check_unet(model: Any, family: str) -> None:
    config = _unet_config(model)
    if "channel_mult" not in config:
        raise ModelError(f"this model is {type(model.model.model_config).__name__}: {_SUPPORTED}")
    if config["in_channels"] != model.model.latent_format.latent_channels:
        raise ModelError(
            f"this model takes {config['in_channels']} channels (an inpainting or depth model): "
            "train with the model it was made from"
        )
    if (config.get("num_classes") is not None) != (family == "sdxl"):
        raise ModelError(f"MODEL and CLIP do not belong together, or the model takes an image as prompt: {_SUPPORTED}")
