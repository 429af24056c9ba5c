"""The host's diffusion transformers as training sees them: MODEL, CLIP and VAE, left bit for bit as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import comfy.model_management
import torch
from comfy.model_sampling import CONST
from torch import Tensor
from torch.autograd.graph import allow_mutation_on_saved_tensors

from ...cones2.concepts.residual import ENCODER_KEY, FAMILY_KEY
from ...cones2.errors import ModelError
from ...cones2.families.family import FAMILIES, ModelFamily
from ...cones2.guidance.terms import AttentionPass
from ...cones2.prompt.conditioning import Conditioning, together
from ...cones2.prompt.tokens import PromptTokens
from ...cones2.sampling.noise import FlowNoise
from ...cones2.training.config import MethodName, RecipeName
from ...cones2.training.model import Posterior, TrainingModel
from .attention.places import cells_per_side, families_of, is_known, text_columns
from .differentiable import differentiable, own_attention
from .prompt_record import PromptRecord, read_prompt
from .tunable_text import frozen_text, own_casting

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

_PROMPTS = 128  # whose encodings are kept: the captions of a run are asked for their tokens first


def is_transformer(model: ModelPatcher) -> bool:
    """Whether a model is one of the transformers that layouts steer."""
    return is_known(model.model)


def check_transformer(model: ModelPatcher, clip: CLIP, method: MethodName, recipe: RecipeName) -> None:
    """Raise ModelError where no residual can be learned with a transformer in this way."""
    found, kind = read_prompt(clip, "")[0].family, type(model.model).__name__
    families = [family for family in FAMILIES if family.key in families_of(model.model)]
    if not families:
        raise ModelError(f"residuals cannot be learned with {kind}: its attention has no gradient in ComfyUI")
    family = next((each for each in families if _encoders(each) == _encoders(found)), None)
    if family is None:
        encoded = frozen_text(clip)("").embeds  # only now is it known which layers of its encoder the CLIP reads
        raise _apart(model, read_prompt(clip, "")[0].of(encoded).family)
    if method == "paper":
        raise ModelError(
            "the paper method tunes the text encoder, which is there for SD 1.x, SD 2.x and SDXL alone: choose the "
            f"method direct for {family.label}"
        )
    if recipe == "scenes":
        raise ModelError(
            "the recipe scenes trains under the layout term, which is there for SD 1.x, SD 2.x and SDXL alone: choose "
            f"the recipe photos for {family.label}"
        )
    if not issubclass(type(model.get_model_object("model_sampling")), CONST):
        raise ModelError(f"another node changed what this {kind} predicts: train with the model without it")


def _apart(model: ModelPatcher, told: ModelFamily, more: str = "") -> ModelError:
    """What is said of a model and a CLIP of another one's family. more: put behind."""
    keys, columns = families_of(model.model), text_columns(model.model)
    labels = (family.label for family in FAMILIES if family.key in keys and family.width == columns)
    name = next(labels, type(model.model).__name__)
    return ModelError(f"MODEL and CLIP do not belong together: the model is {name}, the CLIP is of {told.label}{more}")


def _check_columns(model: ModelPatcher, told: ModelFamily, columns: int) -> None:
    """Raise ModelError for a CLIP that gives other columns than the model reads."""
    read = text_columns(model.model)
    if read not in (None, columns):
        raise _apart(model, told, f" (the model reads {read} columns, the CLIP gives {columns})")


def _encoders(family: ModelFamily) -> dict[str, int]:
    """What tells CLIPs apart before they have encoded anything."""
    return {encoder.key: encoder.width for encoder in family.encoders}


def transformer_grid(model: ModelPatcher, vae: VAE) -> tuple[int, int]:
    """Pixels per latent cell, and the number of pixels that sides of training pictures are multiples of."""
    scale = int(vae.spacial_compression_encode())
    return scale, scale * cells_per_side(model.model)


@contextmanager
def trainable_transformer(model: ModelPatcher, clip: CLIP, vae: VAE, checkpointing: bool) -> Iterator[TrainingModel]:
    """What training needs of the three; inside, gradients work although the host runs nodes in inference mode.

    Raises ModelError for a CLIP without the encoder whose rows are as wide as the conditioning, and for one that gives
    other columns than the model reads.
    """
    model = own_casting(model)
    text = _Text(clip, model.load_device)
    width = text.one("").embeds.shape[-1]
    _check_columns(model, text.record("").family, width)
    noise = FlowNoise(model.get_model_object("model_sampling").sigmas.detach().float().cpu().clone())
    network = _Transformer(model, noise, checkpointing)
    scale, multiple = transformer_grid(model, vae)

    def encode_image(pixels: Tensor) -> Posterior:
        network.release()  # the host may move the network away to make room for the VAE
        with torch.inference_mode():
            latents = model.model.process_latent_in(vae.encode((pixels.movedim(1, -1) + 1) / 2))
        still = latents[:, :, 0] if latents.ndim == 5 else latents
        return Posterior(still.clone(), torch.zeros_like(still))

    try:
        # blocks of some transformers add in place, which autograd must be told to expect, also in the backward pass
        with allow_mutation_on_saved_tensors():
            yield TrainingModel(
                prompt_tokens=text.tokens,
                tokenize=text.record("").stream_of(text.rows).tokenize,
                encode_text=text.encode,
                predict=network,
                encode_image=encode_image,
                noise=noise,
                width=width,
                device=model.load_device,
                vae_scale_factor=scale,
                size_multiple=multiple,
                encoder_facts={ENCODER_KEY: text.rows.encoder, FAMILY_KEY: text.record("").family.key},
            )
    finally:
        network.release()


class _Text:
    """A CLIP as training asks it: tokens and conditioning of the stream that is as wide as the conditioning.

    rows: of that stream.
    """

    def __init__(self, clip: CLIP, device: torch.device) -> None:
        self._clip, self._device, self._frozen = clip, device, frozen_text(clip)
        self.one = lru_cache(_PROMPTS)(self._encode)
        record = self.record("")
        last = record.rows[-1] if record.rows else None
        if last is None or last.width < record.family.width:
            raise ModelError(
                f"residuals of {record.family.label} are learned for {record.family.token_rows[-1].encoder}, which "
                "this CLIP lacks: load it with all its text encoders"
            )
        self.rows = last

    def record(self, prompt: str) -> PromptRecord:
        """The prompt's tokens, at the rows where the model reads them."""
        return read_prompt(self._clip, prompt)[0].of(self.one(prompt).embeds)

    def tokens(self, prompt: str) -> PromptTokens:
        """The tokens of its stream."""
        return self.record(prompt).stream_of(self.rows).tokens

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Prompts as one batch on the model's device."""
        parts = together([self.one(prompt) for prompt in prompts])
        pooled = None if parts.pooled is None else parts.pooled.to(self._device)
        return Conditioning(parts.embeds.to(self._device), pooled, parts.lengths)

    def _encode(self, prompt: str) -> Conditioning:
        found = self._frozen(prompt)
        return Conditioning(found.embeds.cpu(), None if found.pooled is None else found.pooled.cpu())


class _Transformer:
    """The diffusion model as a function. It is loaded at the first call, when the others are done."""

    def __init__(self, model: ModelPatcher, noise: FlowNoise, checkpointing: bool) -> None:
        self._model, self._noise, self._checkpointing = model, noise, checkpointing
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
        if attention is not None:
            raise ModelError("transformers are trained without the layout term: train with the recipe photos")
        if not self._loaded:
            self._load()
        lengths = conditioning.lengths or (conditioning.embeds.shape[1],) * len(noisy)
        parts: dict[int, Tensor] = {}
        for length in dict.fromkeys(lengths):  # prompts of other lengths run apart, as when sampling
            group = [entry for entry, own in enumerate(lengths) if own == length]
            told = conditioning.select(group)
            told = Conditioning(told.embeds[:, :length], told.pooled)
            parts |= zip(group, self._velocity(noisy[group], timesteps[group], told), strict=True)
        return torch.stack([parts[entry] for entry in range(len(noisy))])

    def release(self) -> None:
        """Put back the host's own weights, forward functions and way of computing, until the next call."""
        self._lent.close()
        self._loaded = False

    def _velocity(self, noisy: Tensor, timesteps: Tensor, told: Conditioning) -> Tensor:
        device = self._model.load_device
        level = self._noise.level(timesteps.to(device))
        x = with_frames(self._model, noisy.to(device))
        conds = self._model.model.extra_conds(
            cross_attn=told.embeds, pooled_output=told.pooled, noise=x, device=device, latent_image=torch.zeros_like(x),
            width=x.shape[-1] * 8, height=x.shape[-2] * 8, prompt_type="positive",
        )  # fmt: skip
        given = {name: cond.process_cond(batch_size=len(x), area=None).concat([]) for name, cond in conds.items()}
        denoised: Tensor = self._model.model.apply_model(x, level, transformer_options=own_attention(), **given)
        velocity = (x - denoised) / level.view(-1, *(1 for _ in x.shape[1:]))  # the host gives latents − t · velocity
        return velocity[:, :, 0] if velocity.ndim == 5 else velocity

    def _load(self) -> None:
        with torch.inference_mode():
            comfy.model_management.unload_all_models()  # the VAE and text encoder have done their part
            comfy.model_management.load_models_gpu([self._model])
        self._lent.enter_context(differentiable(self._model.model.diffusion_model, self._checkpointing))
        self._lent.enter_context(_in_training())
        self._loaded = True


@contextmanager
def _in_training() -> Iterator[None]:
    """Inside, the host computes with what has a gradient, instead of kernels of its own."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def with_frames(model: ModelPatcher, latents: Tensor) -> Tensor:
    """Latents [B, C, h, w] with the axis of time where the model's have one: [B, C, 1, h, w]."""
    return latents.unsqueeze(2) if model.model.latent_format.latent_dimensions == 3 else latents
