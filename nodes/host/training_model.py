"""The host's MODEL, CLIP and VAE as training sees them, left bit for bit as they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch
from comfy.model_sampling import EPS, V_PREDICTION, ModelSamplingDiscrete
from torch import Tensor

from ...cones2.errors import ModelError
from ...cones2.families.family import NoisePrediction
from ...cones2.guidance.terms import AttentionPass, total_bias
from ...cones2.prompt.conditioning import Conditioning
from ...cones2.sampling.noise import make_noise
from ...cones2.training.config import MethodName
from ...cones2.training.model import Posterior, TrainingModel
from .attention.unet import Attention, attend, grid_of, layer_keys, split_heads, with_attention
from .differentiable import differentiable, own_attention
from .prompt_record import read_prompt
from .prompt_streams import LiveTokenizer
from .training_transformer import is_transformer, trainable_transformer, transformer_grid
from .tunable_text import TunableText, frozen_text, own_casting

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

Installed = Callable[[torch.nn.Module], AbstractContextManager[None]]
"""What a training puts into the loaded UNet while it is used, and takes out again."""

_SUPPORTED = "training needs an SD 1.x, SD 2.x or SDXL model, or a diffusion transformer that layouts steer"


@contextmanager
def trainable_model(
    model: ModelPatcher,
    clip: CLIP,
    vae: VAE,
    method: MethodName,
    checkpointing: bool,
    encoder: Callable[[str], Conditioning] | None = None,
    learning: Installed | None = None,
) -> Iterator[TrainingModel]:
    """What training needs of the three; inside, gradients work although the host runs nodes in inference mode.

    The paper method tunes a float32 copy of the text encoder. encoder: what else encodes prompts, all to one length.
    learning: what else learns in the UNet. Raises ModelError for another architecture.
    """
    if is_transformer(model):
        with trainable_transformer(model, clip, vae, checkpointing) as transformer:
            yield transformer
        return
    vae_scale_factor, size_multiple = picture_grid(model, clip, vae)
    record, _ = read_prompt(clip, "")
    model = own_casting(model)
    unet = _UNet(model, checkpointing, learning)
    tuned = TunableText(clip) if method == "paper" else None
    encode = tuned or encoder or frozen_text(clip)
    device = model.load_device

    def encode_text(prompts: Sequence[str]) -> Conditioning:
        parts = [encode(prompt) for prompt in prompts]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        embeds = torch.cat([part.embeds for part in parts]).to(device)
        return Conditioning(embeds, torch.cat(pooled).to(device) if pooled and record.family.key == "sdxl" else None)

    def encode_image(pixels: Tensor) -> Posterior:
        unet.release()  # the host may move the UNet away to make room for the VAE
        with torch.inference_mode():
            latents = model.model.process_latent_in(vae.encode((pixels.movedim(1, -1) + 1) / 2))
        return Posterior(latents.clone(), torch.zeros_like(latents))

    def decode_latents(latents: Tensor) -> Tensor:
        unet.release()
        with torch.inference_mode():
            pictures = vae.decode(model.model.process_latent_out(latents.detach().float().cpu()))
        decoded: Tensor = pictures[..., :3].movedim(-1, 1).clone() * 2 - 1
        return decoded

    sigmas = model.get_model_object("model_sampling").sigmas
    alphas_cumprod = (1 / (sigmas.detach().cpu().double() ** 2 + 1)).float().clone()
    width = _text_width(model, encode)
    try:
        yield TrainingModel(
            prompt_tokens=lambda prompt: read_prompt(clip, prompt)[0].tokens,
            tokenize=LiveTokenizer(clip.tokenizer),
            encode_text=encode_text,
            predict=unet,
            encode_image=encode_image,
            noise=make_noise(prediction_of(model), alphas_cumprod),
            width=width,
            text_weights={} if tuned is None else tuned.weights,
            device=device,
            vae_scale_factor=vae_scale_factor,
            size_multiple=size_multiple,
            decode_latents=decode_latents,
        )
    finally:
        unet.release()


def _text_width(model: ModelPatcher, encode: Callable[[str], Conditioning]) -> int:
    """Width of the text conditioning. Raises ModelError when the model reads text of another width."""
    with torch.no_grad():
        width = encode("").embeds.shape[-1]
    if width != (wanted := _unet_config(model).get("context_dim")):
        raise ModelError(
            f"MODEL and CLIP do not belong together: the model reads text of width {wanted}, the CLIP gives {width}"
        )
    return width


def picture_grid(model: ModelPatcher, clip: CLIP, vae: VAE) -> tuple[int, int]:
    """Pixels per latent cell, and the number of pixels that sides of training pictures are multiples of.

    Raises ModelError for a model that cannot be trained with.
    """
    if is_transformer(model):
        return transformer_grid(model, vae)
    prediction_of(model)
    _check_unet(model, read_prompt(clip, "")[0].family.key)
    vae_scale_factor = int(vae.spacial_compression_encode())
    return vae_scale_factor, vae_scale_factor * 2 ** (len(_unet_config(model)["channel_mult"]) - 1)


def own_side(model: ModelPatcher, clip: CLIP) -> int:
    """Side in pixels of the square pictures that the model was made for."""
    return read_prompt(clip, "")[0].family.side(prediction_of(model))


def prediction_of(model: ModelPatcher) -> NoisePrediction:
    """What the model predicts. Raises ModelError for a UNet that predicts neither at all discrete steps."""
    sampling = model.get_model_object("model_sampling")
    if is_transformer(model):
        return "flow"
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


def precision_of(model: ModelPatcher) -> str:
    """Number format the UNet computes in: float32, float16 or bfloat16."""
    return str(_compute_dtype(model)).removeprefix("torch.")


def base_model_name(model: ModelPatcher) -> str:
    """The checkpoint's file name where the host remembers it, else the kind of model."""
    reload = getattr(model, "cached_patcher_init", None)
    path = reload[1][0] if reload and reload[1] else None
    return Path(path).name if isinstance(path, str) else type(model.model.model_config).__name__.strip("_")


class _UNet:
    """The diffusion model as a function. It is loaded at the first call, when the others are done."""

    def __init__(self, model: ModelPatcher, checkpointing: bool, learning: Installed | None) -> None:
        self._model, self._checkpointing, self._learning = model, checkpointing, learning
        self._lent = ExitStack()
        self._loaded = False

    def __call__(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        sizes: Tensor | None,
        attention: AttentionPass | None = None,
        /,
    ) -> Tensor:
        if not self._loaded:
            self._load()
        dtype, device = _compute_dtype(self._model), self._model.load_device
        options = own_attention()
        layers = None if attention is None else _Layers(attention, conditioning.embeds.shape[1], len(noisy))
        if layers is not None:
            options = with_attention(options, layer_keys(self._model.model.diffusion_model), layers)
        output: Tensor = self._model.model.diffusion_model(
            noisy.to(device, dtype),
            timesteps.to(device).float(),
            context=conditioning.embeds.to(device, dtype),
            y=self._vector(conditioning, sizes, dtype),
            transformer_options=options,
        )
        if layers is not None and not layers.taken:
            raise ModelError(
                "no cross-attention layer of this model took the layout term: train with the recipe photos"
            )
        return output

    def release(self) -> None:
        """Put back the host's own weights and forward functions, until the next call."""
        self._lent.close()
        self._loaded = False

    def _load(self) -> None:
        with torch.inference_mode():
            comfy.model_management.unload_all_models()  # the VAE and text encoder have done their part
            comfy.model_management.load_models_gpu([self._model])
        network = self._model.model.diffusion_model
        self._lent.enter_context(differentiable(network, self._checkpointing))
        if self._learning is not None:
            self._lent.enter_context(self._learning(network))
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


class _Layers:
    """The cross-attention of one training pass: all samples are positive, each at its own noise level.

    taken: how many layers were called.
    """

    def __init__(self, attention: AttentionPass, length: int, count: int) -> None:
        self._attention, self._length, self._count = attention, length, count
        self.taken = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], previous: Attention | None) -> Tensor:
        heads, grid = extra["n_heads"], grid_of(extra)
        if len(q) != self._count or q.shape[1] != math.prod(grid) or k.shape[1] != self._length:
            raise ModelError("another node changes this model's cross-attention: train without it")
        self.taken += 1
        split = split_heads(q, heads), split_heads(k, heads)
        bias = total_bias(self._attention.terms, *split, grid, self._attention.growth)
        if self._attention.observer is not None:
            self._attention.observer(*split, bias, grid)
        guided = attend(q, k, v, extra, bias)
        return guided if previous is None else guided + previous(q, k, v, extra) - attend(q, k, v, extra)


def _compute_dtype(model: ModelPatcher) -> torch.dtype:
    dtype: torch.dtype = model.get_model_object("manual_cast_dtype") or model.model.get_dtype()
    return dtype


def _unet_config(model: ModelPatcher) -> dict[str, Any]:
    config: dict[str, Any] = model.model.model_config.unet_config
    return config


def _check_unet(model: ModelPatcher, family: str) -> None:
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
