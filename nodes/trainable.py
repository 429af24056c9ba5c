"""The host's MODEL, CLIP and VAE as training sees them, left bit for bit as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import comfy.model_management
import comfy.model_sampling
import torch
from comfy.clip_model import CLIPLayer
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..cones2.errors import ModelError
from ..cones2.training.config import MethodName
from ..cones2.training.model import Conditioning, Posterior, TrainingModel
from .prompt import LiveTokenizer, read_prompt

_WIDTHS = {"sd1": 768, "sd2": 1024, "sdxl": 2048}


@contextmanager
def trainable_model(
    model: Any, clip: Any, vae: Any, method: MethodName, checkpointing: bool
) -> Iterator[TrainingModel]:
    """The callables; inside, gradients work although the host runs nodes in inference mode.

    The UNet's weights are seen through tensors over the same memory, which are gone afterwards. The
    paper method tunes a float32 copy of the text encoder. Raises ModelError for another architecture.
    """
    record, _ = read_prompt(clip, "")
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
    try:
        yield TrainingModel(
            prompt_tokens=lambda prompt: read_prompt(clip, prompt)[0].tokens,
            tokenise=LiveTokenizer(clip.tokenizer),
            encode_text=encode_text,
            predict=unet,
            encode_image=encode_image,
            alphas_cumprod=(1 / (sampling.sigmas.detach().cpu().double() ** 2 + 1)).float().clone(),
            prediction_type=_prediction_type(sampling),
            width=_WIDTHS[record.family],
            text_weights=encoder.weights if encoder else {},
            device=device,
            factor=8,
            multiple=64,
        )
    finally:
        unet.release()


def precision_of(model: Any) -> str:
    """Number format the UNet computes in: float32, float16 or bfloat16."""
    return str(_compute_dtype(model)).removeprefix("torch.")


class _UNet:
    """The diffusion model as a function. It is loaded at the first call, when the others are done."""

    def __init__(self, model: Any, checkpointing: bool) -> None:
        self._model, self._checkpointing = model, checkpointing
        self._undo: list[Callable[[], None]] = []
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
            transformer_options={},
        )

    def release(self) -> None:
        """Put back the host's own weights and forward functions."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _load(self) -> None:
        with torch.inference_mode():
            comfy.model_management.unload_all_models()  # the VAE and text encoder have done their part
            comfy.model_management.load_models_gpu([self._model])
        self._loaded = True
        for part in self._model.model.diffusion_model.modules():
            self._undo += _aliased(part._parameters) + _aliased(part._buffers)
            if self._checkpointing and isinstance(part, ResBlock | SpatialTransformer):
                self._undo.append(_recomputed(part))

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
        with torch.inference_mode():
            clip.load_model()
        self._clip = clip
        self._encoder = copy.deepcopy(clip.cond_stage_model)
        device = clip.patcher.load_device
        for part in self._encoder.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = _independent(tensor, device)
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


def _independent(tensor: Tensor, device: torch.device) -> Tensor:
    """A normal tensor with the values of an inference tensor; floats become float32 parameters."""
    if not isinstance(tensor, torch.nn.Parameter):
        return tensor.to(device, copy=True)
    return torch.nn.Parameter(tensor.detach().to(device, torch.float32, copy=True), requires_grad=True)


def _aliased(tensors: dict[str, Any]) -> list[Callable[[], None]]:
    """Replace inference tensors, which autograd refuses to save, by normal ones over the same memory."""
    undo = []
    for name, tensor in list(tensors.items()):
        if tensor is None or type(tensor) not in (Tensor, torch.nn.Parameter) or not tensor.is_inference():
            continue
        alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
        is_weight = isinstance(tensor, torch.nn.Parameter)
        tensors[name] = torch.nn.Parameter(alias, requires_grad=False) if is_weight else alias
        undo.append(lambda name=name, tensor=tensor: tensors.__setitem__(name, tensor))
    return undo


def _recomputed(part: Any) -> Callable[[], None]:
    """Let a block recompute its activations in the backward pass."""
    forward = part.forward

    def wrapped(*args: Any, **options: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **options)

    part.forward = wrapped
    return lambda: part.__dict__.pop("forward")


def _compute_dtype(model: Any) -> torch.dtype:
    return model.model.manual_cast_dtype or model.model.get_dtype()


def _prediction_type(sampling: Any) -> Any:
    if isinstance(sampling, comfy.model_sampling.V_PREDICTION):
        return "v_prediction"
    if isinstance(sampling, comfy.model_sampling.EPS) and hasattr(sampling, "sigmas"):
        return "epsilon"
    raise ModelError(
        f"this model predicts by {type(sampling).__name__}: training needs an SD 1.x, SD 2.x or SDXL model"
    )
