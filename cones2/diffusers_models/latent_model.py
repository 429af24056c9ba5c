"""Stable Diffusion 1.x and 2.x as diffusers components: encode, sample under a layout, decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ModelError
from ..guidance.cross_attention import LayoutBias
from ..prompt.tokens import PromptTokens, Tokenize
from ..published.rules import PublishedRules
from ..sampling.euler import Callback, SeededNoise, sample_euler
from ..sampling.noise import log_growth
from ..sampling.schedule import Schedule, linear_schedule
from .attention import ForwardState, Observer, guided_unet
from .text import hf_tokenize, prompt_tokens, published_ids

PredictionType = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """conditioning: [1, 77·chunks, d] after the final layer norm; tokens: what stands in which row."""

    conditioning: Tensor
    tokens: PromptTokens


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample; the defaults are the published ones.

    steps: outer steps. guidance_steps: how many of them, from the first on, follow the layout
    (None: all; more than `steps`: all). cfg: classifier-free guidance scale. dynamic_cfg: use
    cfg · (1 + σ/σ_max), as the derived multi-concept project does. recurrence: repeat each guided
    step after renoising. seeds: one per image. height, width: pixels, multiples of the VAE's factor.
    published_rules: take the bias's σ from the published second table (see `cones2.published`).
    """

    steps: int = 50
    guidance_steps: int | None = None
    cfg: float = 7.5
    dynamic_cfg: bool = False
    recurrence: bool = True
    seeds: Sequence[int] = (0,)
    height: int = 768
    width: int = 768
    published_rules: PublishedRules | None = None

    @property
    def guided(self) -> int:
        """Number of guided steps, 0 … steps."""
        return self.steps if self.guidance_steps is None else min(max(self.guidance_steps, 0), self.steps)


@dataclass(frozen=True, eq=False)
class StableDiffusion:
    """The loaded components; see `cones2.pipelines.loading.load_model`.

    alphas_cumprod: ᾱ of the training schedule, float32 [1000].
    """

    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    alphas_cumprod: Tensor
    prediction_type: PredictionType

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        device: torch.device = next(self.unet.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's number format."""
        dtype: torch.dtype = next(self.unet.parameters()).dtype
        return dtype

    @property
    def width(self) -> int:
        """Width d of the text conditioning."""
        return int(self.unet.config.cross_attention_dim)

    @property
    def default_size(self) -> int:
        """Side in pixels of the square pictures the model was made for."""
        return int(self.unet.config.sample_size) * self.vae_factor

    @property
    def tokenize(self) -> Tokenize:
        """Phrase → (token id, BPE piece) without special tokens."""
        return hf_tokenize(self.tokenizer)

    @property
    def vae_factor(self) -> int:
        """Pixels per latent cell."""
        config = self.vae.config
        levels = config.get("encoder_block_out_channels") or config.block_out_channels  # AutoencoderTiny or KL
        return int(2 ** (len(levels) - 1))

    def check_size(self, height: int, width: int) -> None:
        """Raise ModelError for a picture size in pixels that the model cannot make."""
        factor = self.vae_factor
        if height < 1 or width < 1 or height % factor or width % factor:
            raise ModelError(f"{height}x{width} (HxW): both sides must be positive multiples of {factor}")

    def encode_prompts(self, *prompts: str) -> list[EncodedPrompt]:
        """Prompts of any length in chunks of 77 rows, all with as many chunks as the longest needs."""
        chunks = max(prompt_tokens(self.tokenizer, prompt)[1].shape[0] for prompt in prompts)
        encoded = [prompt_tokens(self.tokenizer, prompt, chunks) for prompt in prompts]
        return [EncodedPrompt(self.encode_ids(ids), tokens) for tokens, ids in encoded]

    def encode_published(self, rules: PublishedRules, prompt: str, negative: str) -> list[EncodedPrompt]:
        """Prompt and negative prompt as the given rules encode them: one chunk, the rest is cut off."""
        stream, ids = prompt_tokens(self.tokenizer, prompt)
        ids = published_ids(self.tokenizer, prompt) if rules.unpadded_prompt else ids[:1]
        length = ids.shape[1]
        tokens = tuple(token for token in stream.tokens if token.row < length - 1)
        unprompted, negative_ids = prompt_tokens(self.tokenizer, negative)
        return [
            EncodedPrompt(self.encode_ids(ids), PromptTokens(prompt, tokens, length)),
            EncodedPrompt(self.encode_ids(negative_ids[:1, :length]), unprompted),
        ]

    @torch.inference_mode()
    def encode_ids(self, ids: Tensor) -> Tensor:
        """Token ids [chunks, rows] to conditioning [1, chunks · rows, d]."""
        hidden = self.text_encoder(ids.to(self.text_encoder.device)).last_hidden_state
        return hidden.flatten(0, 1)[None].to(self.device, self.dtype)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 4, h, w] to pictures [B, 3, H, W], about −1 … 1, one at a time to save memory."""
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        return torch.cat([self.vae.decode(latent[None]).sample for latent in scaled])

    @torch.inference_mode()
    def sample(
        self,
        positive: Tensor,
        negative: Tensor,
        guidance: LayoutBias | None,
        settings: SamplingSettings,
        callback: Callback | None = None,
        observer: Observer | None = None,
    ) -> Tensor:
        """Latents [images, 4, h, w] of a guided run; positive and negative: conditioning [1, L, d].

        Both have the same number of rows. Raises Cancelled when the callback returns False; the UNet
        is left as it was in every case.
        """
        self.check_size(settings.height, settings.width)
        _check_rows(positive, negative)
        schedule = linear_schedule(self.alphas_cumprod, settings.steps)
        shape = (self.unet.config.in_channels, settings.height // self.vae_factor, settings.width // self.vae_factor)
        noise = SeededNoise(settings.seeds, shape, self.device)
        sigma_max = (schedule.sigmas.max() ** 2).sqrt()
        with guided_unet(self.unet, ForwardState(guided=slice(len(settings.seeds), None), observer=observer)) as state:
            denoise = _GuidedDenoiser(self, positive, negative, guidance, settings, schedule, state)
            return sample_euler(
                denoise, noise() * sigma_max, schedule.sigmas, settings.guided, noise, settings.recurrence, callback
            )

    def predict(self, x: Tensor, sigma: Tensor, timestep: Tensor, conditioning: Tensor) -> Tensor:
        """The UNet's raw output (noise or velocity) for latents x [B, 4, h, w] at noise level σ."""
        scaled = (x / (sigma**2 + 1) ** 0.5).to(self.dtype)
        return self.unet(scaled, timestep, encoder_hidden_states=conditioning).sample.to(x.dtype)  # type: ignore[no-any-return]

    def to_denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """Clean latents from the UNet's output at noise level σ."""
        if self.prediction_type == "epsilon":
            return x - sigma * output
        return output * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


class _GuidedDenoiser:
    """Classifier-free guidance with the layout on the positive half, both halves in one forward."""

    def __init__(
        self,
        model: StableDiffusion,
        positive: Tensor,
        negative: Tensor,
        guidance: LayoutBias | None,
        settings: SamplingSettings,
        schedule: Schedule,
        state: ForwardState,
    ) -> None:
        images = len(settings.seeds)
        halves = (negative, positive) if settings.cfg != 1 or settings.dynamic_cfg else (positive,)
        state.guided = slice(images * (len(halves) - 1), None)
        self._conditioning = torch.cat([half.expand(images, -1, -1) for half in halves])
        self._halves = len(halves)
        self._model, self._guidance, self._settings, self._state = model, guidance, settings, state
        self._timesteps = schedule.timesteps
        self._sigmas = schedule.sigmas.to(positive.device)
        self._bias_sigmas = self._guidance_sigmas(schedule)

    def __call__(self, x: Tensor, step: int, guided: bool) -> Tensor:
        self._state.guidance = self._guidance if guided else None
        self._state.growth = log_growth(float(self._bias_sigmas[step])) if guided else 0.0
        sigma = self._sigmas[step]
        timestep = self._timesteps[step].to(x.device, torch.float32)
        output = self._model.predict(x.repeat(self._halves, 1, 1, 1), sigma, timestep, self._conditioning)
        if self._halves == 2:
            negative, positive = output.chunk(2)
            output = negative + self._scale(sigma) * (positive - negative)
        return self._model.to_denoised(x, sigma, output)

    def _scale(self, sigma: Tensor) -> Tensor | float:
        if not self._settings.dynamic_cfg:
            return self._settings.cfg
        return self._settings.cfg * (1 + sigma / self._sigmas[0])

    def _guidance_sigmas(self, schedule: Schedule) -> Tensor:
        if self._settings.published_rules is None or not self._settings.guided:
            return schedule.sigmas
        return linear_schedule(self._model.alphas_cumprod, self._settings.guided).sigmas


def _check_rows(positive: Tensor, negative: Tensor) -> None:
    if positive.shape[1:] != negative.shape[1:]:
        raise ModelError(
            f"the prompt's conditioning is {tuple(positive.shape)} but the negative prompt's {tuple(negative.shape)}: "
            "encode them together"
        )


def to_images(decoded: Tensor) -> list[Image.Image]:
    """Decoder output [B, 3, H, W], −1 … 1, as 8-bit pictures."""
    pixels = (decoded.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray((picture * 255).round().astype(np.uint8)) for picture in pixels]
