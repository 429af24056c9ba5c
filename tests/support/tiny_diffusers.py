"""A Stable Diffusion model small enough to sample within a test, and sampling written out naively."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.text import ClipText
from cones2.layout.regions import Layout
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from cones2.sampling.settings import SamplingSettings
from tests.support import small_tokenizer

WIDTH = 16
START, END, PAD = 1998, 1999, 0


class SmallTokenizer:
    """What the engine asks of a CLIP tokenizer, over the small vocabulary of the tests."""

    bos_token_id, eos_token_id, pad_token_id = START, END, PAD

    def __call__(
        self, text: str, add_special_tokens: bool = True, max_length: int | None = None, **_: Any
    ) -> dict[str, list[int]]:
        ids = [piece.id for piece in small_tokenizer.tokenize(text)]
        if not add_special_tokens:
            return {"input_ids": ids}
        return {"input_ids": [START, *ids[: (max_length or 77) - 2], END]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [small_tokenizer.spelling(id) for id in ids]

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def tiny_model(prediction_type: str = "v_prediction") -> DiffusersModel:
    """Random weights, three grids, d = 16, one latent cell = 2 × 2 pixels; attention strong enough to see."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4, 4),
    )
    for name, parameter in unet.named_parameters():
        if ".attn2.to_" in name and name.endswith("weight"):
            parameter.data *= 2
    unet.conv_out.weight.data *= 0.2  # keeps float32 rounding from growing over the steps
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=2000,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    )
    for part in (text, unet, vae):
        part.eval().requires_grad_(False)
    encoder = ClipText([SmallTokenizer()], nn.ModuleList([text]))
    return DiffusersModel(encoder, unet, vae, make_noise(prediction_type, scaled_linear_alphas()))


class NaiveAttention:
    """Cross-attention with formed scores: the published formula, image by image."""

    def __init__(self, weights: dict[int, Tensor], rows: Sequence[int], strength: float) -> None:
        self.weights, self.rows, self.strength = weights, list(rows), strength
        self.sigma: float | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        images, positions, _ = hidden_states.shape
        out = torch.empty(images, positions, attn.to_q.out_features)
        for image in range(images):
            q, k, v = attn.to_q(hidden_states[image]), attn.to_k(encoder_hidden_states[image]), None
            v = attn.to_v(encoder_hidden_states[image])
            width = q.shape[-1] // attn.heads
            heads = [slice(head * width, (head + 1) * width) for head in range(attn.heads)]
            scores = torch.stack([q[:, part] @ k[:, part].T for part in heads])
            if self.sigma is not None:
                term = torch.zeros(positions, k.shape[0])
                term[:, self.rows] = self.weights[positions]
                scores = scores + self.strength * term * math.log(1 + self.sigma**2) * scores.std()
            probabilities = (scores / math.sqrt(width)).softmax(-1)
            out[image] = torch.cat([probabilities[head] @ v[:, part] for head, part in enumerate(heads)], -1)
        return attn.to_out[0](out)


def naive_weights(layout: Layout, rows: Sequence[int], height: int, width: int, negative: float = -1e8) -> Tensor:
    """Bilinear maps [h·w, rows] of one token per region, each with its best covered cell filled."""
    columns = []
    for region in layout.regions:
        image = torch.where(region.mask, region.weight, negative)[None, None]
        grid = F.interpolate(image, (height, width), mode="bilinear", align_corners=True)[0, 0]
        fine = region.mask.repeat_interleave(height, 0).repeat_interleave(width, 1).double()
        share = fine.view(height, layout.height, width, layout.width).mean((1, 3))
        center = (region.mask.nonzero().double().mean(0) + 0.5) / torch.tensor([layout.height, layout.width])
        cells = [(y, x) for y in range(height) for x in range(width) if share[y, x] > share.max() - 1e-9]
        best = min(
            cells, key=lambda cell: (cell[0] + 0.5 - center[0] * height) ** 2 + (cell[1] + 0.5 - center[1] * width) ** 2
        )
        grid[best] = max(float(grid[best]), region.weight)
        columns.append(grid.flatten())
    assert len(columns) == len(rows)
    return torch.stack(columns, -1)


def naive_sigmas(steps: int) -> tuple[np.ndarray, np.ndarray]:
    alphas = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    trained = np.sqrt((1 - alphas) / alphas)
    timesteps = np.linspace(999, 0, steps)
    return timesteps, np.append(np.interp(timesteps, np.arange(1000), trained), 0.0)


@torch.no_grad()
def naive_sample(
    model: DiffusersModel,
    positive: Tensor,
    negative: Tensor,
    layout: Layout,
    rows: Sequence[int],
    settings: SamplingSettings,
    seed: int,
    bias_sigmas: Sequence[float] | None = None,
    strength: float = 0.08,
) -> Tensor:
    """Algorithm 1 of the paper for one image: two UNet calls per pass, formed scores, plain loops."""
    unet = copy.deepcopy(model.unet)
    height, width = settings.height // 2, settings.width // 2
    weights = {
        math.prod(grid): naive_weights(layout, rows, *grid)
        for grid in [(math.ceil(height / 2**level), math.ceil(width / 2**level)) for level in range(3)]
    }
    attention = NaiveAttention(weights, rows, strength)
    for module in unet.modules():
        for block in getattr(module, "transformer_blocks", None) or ():
            block.attn2.set_processor(attention)
    timesteps, sigmas = naive_sigmas(settings.steps)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((1, 4, height, width), generator=generator) * float(sigmas[0])

    def predict(x: Tensor, i: int, conditioning: Tensor, sigma: float | None) -> Tensor:
        attention.sigma = sigma
        scaled = x / math.sqrt(sigmas[i] ** 2 + 1)
        return unet(scaled, torch.tensor(timesteps[i]).float(), encoder_hidden_states=conditioning).sample

    for i in range(settings.steps):
        s, s_next = float(sigmas[i]), float(sigmas[i + 1])
        guided = i < settings.guided_count
        scale = settings.cfg * (1 + s / float(sigmas[0])) if settings.dynamic_cfg else settings.cfg
        passes = 2 if guided and settings.recurrence else 1
        for k in range(passes):
            bias_sigma = (s if bias_sigmas is None else float(bias_sigmas[i])) if guided else None
            cond, uncond = predict(x, i, positive, bias_sigma), predict(x, i, negative, None)
            output = uncond + scale * (cond - uncond)
            if model.noise.prediction == "epsilon":
                denoised = x - s * output
            else:
                denoised = x / (s**2 + 1) - output * s / math.sqrt(s**2 + 1)
            x_next = x + (x - denoised) / s * (s_next - s)
            if k + 1 < passes:
                x = x_next + torch.randn(x.shape, generator=generator) * math.sqrt(s**2 - s_next**2)
        x = x_next
    return x
