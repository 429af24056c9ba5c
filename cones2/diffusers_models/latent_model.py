"""A latent diffusion model of diffusers components: encode, sample a scene, decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ModelError
from ..guidance.heat_maps import Observer
from ..prompt.conditioning import Conditioning, EncodedPrompt, PromptFormat
from ..prompt.tokens import Tokenize
from ..sampling.euler import Callback, SeededNoise, sample_euler
from ..sampling.noise import DiffusionNoise
from ..sampling.settings import SamplingSettings
from ..sampling.start import Start
from ..scene import Scene, start_of
from .attention import ForwardState, cross_attention_layers, guided_unet
from .guided_denoiser import GuidedDenoiser, halves_of
from .picture_pass import PicturePass
from .text import ClipText

_SMALLEST_SIDE = 16  # pixels: less shows nothing


@dataclass(frozen=True, eq=False)
class DiffusersModel:
    """Stable Diffusion 1.x, 2.x or SDXL; see `cones2.diffusers_models.loading.load_model`.

    text: tokenizers and text encoders.
    unet: a UNet2DConditionModel. vae: an AutoencoderKL or AutoencoderTiny.
    noise: what the UNet was trained to predict.
    """

    text: ClipText
    unet: Any
    vae: Any
    noise: DiffusionNoise

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
        return int(self.unet.config.sample_size) * self.vae_scale_factor

    @property
    def tokenize(self) -> Tokenize:
        """Phrase → pieces without special tokens."""
        return self.text.tokenize

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell."""
        config = self.vae.config
        levels = config.get("encoder_block_out_channels") or config.block_out_channels  # AutoencoderTiny or KL
        return int(2 ** (len(levels) - 1))

    @property
    def is_xl(self) -> bool:
        """Whether the UNet is also told pooled text and picture sizes, as SDXL's."""
        return bool(self.unet.config.get("addition_embed_type") == "text_time")

    @property
    def cross_attention_widths(self) -> list[int]:
        """Width of each cross-attention layer, in the order of the blocks down, up, middle."""
        return [attn.to_q.out_features for _, attn in cross_attention_layers(self.unet)]

    def check_size(self, height: int, width: int) -> None:
        """Raise ModelError for a picture size in pixels that the model cannot make."""
        factor, least = self.vae_scale_factor, max(self.size_multiple, _SMALLEST_SIDE)
        if height < least or width < least or height % factor or width % factor:
            raise ModelError(
                f"{width}x{height} (width x height) cannot be drawn: both sides must be "
                f"multiples of {factor} pixels, and at least {least}"
            )

    @property
    def size_multiple(self) -> int:
        """Side in pixels of one cell of the UNet's coarsest level."""
        return int(self.vae_scale_factor * 2 ** (len(self.unet.config.block_out_channels) - 1))

    @torch.inference_mode()
    def encode_prompts(self, *prompts: str, format: PromptFormat = PromptFormat.CHUNKED) -> list[EncodedPrompt]:
        """The prompts in chunks of 77 tokens, all with as many chunks as the longest needs."""
        return [
            EncodedPrompt(self._flattened(self.text.embed(ids)), tokens)
            for tokens, ids in self.text.formatted(prompts, format)
        ]

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], −1 … 1, to latents [B, 4, h, w]: the mean of the autoencoder's posterior."""
        scaled = []
        for picture in pictures.to(self.vae.device, self.vae.dtype):  # one at a time to save memory
            encoded = self.vae.encode(picture[None])
            mean = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean  # AutoencoderTiny or KL
            scaled.append(mean * self.vae.config.scaling_factor)
        return torch.cat(scaled)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 4, h, w] to pictures [B, 3, H, W], about −1 … 1, one at a time to save memory."""
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        return torch.cat([self.vae.decode(latent[None]).sample for latent in scaled])

    @torch.inference_mode()
    def sample(
        self,
        scene: Scene,
        settings: SamplingSettings,
        callback: Callback | None = None,
        observer: Observer | None = None,
    ) -> Tensor:
        """Latents [images, 4, h, w] of a scene.

        Raises ModelError for a size the model cannot make, or prompts of different lengths; Cones2Error for a
        start from photos without any; Cancelled when the callback returns False. The UNet is left as it was in
        every case.
        """
        self.check_size(settings.height, settings.width)
        return self.sample_from(start_of(self, scene, settings), scene, settings, callback, observer)

    @torch.inference_mode()
    def sample_from(
        self,
        start: Start,
        scene: Scene,
        settings: SamplingSettings,
        callback: Callback | None = None,
        observer: Observer | None = None,
    ) -> Tensor:
        """As `sample`, from another start; settings.photo_start does nothing."""
        self.check_size(settings.height, settings.width)
        _check_lengths(scene)
        schedule = self.noise.schedule(settings.steps)
        factor = self.vae_scale_factor
        shape = (self.unet.config.in_channels, settings.height // factor, settings.width // factor)
        draw = SeededNoise(settings.seeds, shape, self.device)
        sigmas = schedule.sigmas[start.first_step :]
        repeated = max(settings.guided_count - start.first_step, 0) if settings.recurrence else 0
        halves = halves_of(scene, settings)
        first = len(settings.seeds) * (len(halves) - 1)
        positive, negative = slice(first, None), slice(0, first)
        state = ForwardState(positive=positive, observer=observer, regional=scene.regional)
        if scene.references is not None and not scene.references.adds_nothing:
            state.pictures = PicturePass(scene.references, positive, negative)
        with guided_unet(self.unet, state):
            denoise = GuidedDenoiser(self, scene, settings, halves, schedule, state)
            renoise = lambda x, sigma, lower: self.noise.renoise(x, draw(), sigma, lower)  # noqa: E731
            noisy = start.noisy(draw(), (sigmas[0] ** 2).sqrt())
            return sample_euler(denoise, noisy, sigmas, repeated, renoise, callback)

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, time_ids: Tensor | None = None
    ) -> Tensor:
        """The UNet's raw output [B, 4, h, w] in its number format.

        noisy: latents as in training, [B, 4, h, w]. timesteps: [] or [B], possibly fractional.
        time_ids: SDXL's picture sizes [B, 6], used where the conditioning has pooled text.
        """
        added = {}
        if conditioning.pooled is not None:
            added = {"added_cond_kwargs": {"text_embeds": conditioning.pooled.to(self.dtype), "time_ids": time_ids}}
        embeds = conditioning.embeds.to(self.dtype)
        output: Tensor = self.unet(noisy.to(self.dtype), timesteps, encoder_hidden_states=embeds, **added).sample
        return output

    def _flattened(self, chunks: Conditioning) -> Conditioning:
        """Chunks [n, 77, d] as one prompt [1, 77 · n, d]; the first chunk's pooled text is the prompt's."""
        embeds = chunks.embeds.flatten(0, 1)[None].to(self.device, self.dtype)
        return Conditioning(embeds, None if chunks.pooled is None else chunks.pooled[:1].to(self.device, self.dtype))


def _check_lengths(scene: Scene) -> None:
    positive, negative = scene.positive.embeds, scene.negative.embeds
    if positive.shape[1:] != negative.shape[1:]:
        raise ModelError(
            f"the prompt's conditioning is {tuple(positive.shape)} but the negative prompt's {tuple(negative.shape)}: "
            "encode them together"
        )


def to_images(decoded: Tensor) -> list[Image.Image]:
    """Decoder output [B, 3, H, W], −1 … 1, as 8-bit pictures."""
    pixels = (decoded.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray((picture * 255).round().astype(np.uint8)) for picture in pixels]
