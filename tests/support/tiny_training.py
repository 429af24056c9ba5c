"""Networks small enough to train within a test, as the callables training sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cones2.guidance.terms import AttentionPass, total_bias
from cones2.prompt.conditioning import Conditioning
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from cones2.training.batches import LatentBatches, LatentView, encode_views
from cones2.training.config import TrainingConfig, default_config
from cones2.training.loop import Trainer
from cones2.training.methods import ResidualMethod, make_method
from cones2.training.model import Posterior, TrainingModel
from cones2.training.views import Photo, ViewSettings, make_views
from tests.support.small_tokenizer import stream, tokenize

WIDTH = 16


class TinyText(nn.Module):
    """Causal: each row sees the mean of the embeddings up to itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3000, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids)
        seen = embedded.cumsum(1) / torch.arange(1, ids.shape[1] + 1)[:, None]
        return self.norm(embedded + self.mix(seen))


class TinyUNet(nn.Module):
    """One convolution, one cross-attention, a time shift; with pooled text and sizes when asked for."""

    def __init__(self, width: int, pooled: int = 0) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(width, 8), nn.Linear(width, 8)
        self.time = nn.Linear(1, 8)
        self.extra = nn.Linear(pooled + 6, 8) if pooled else None

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        sizes: Tensor | None,
        attention: AttentionPass | None = None,
    ) -> Tensor:
        hidden = self.enter(x) + self.time(timesteps[:, None].to(x.dtype) / 1000)[..., None, None]
        if self.extra is not None:
            assert conditioning.pooled is not None and sizes is not None
            extra = torch.cat([conditioning.pooled, sizes / 64], 1)
            hidden = hidden + self.extra(extra)[..., None, None]
        flat, rows = hidden.flatten(2).transpose(1, 2), conditioning.embeds.to(x.dtype)
        q, k, v = (part[:, None] for part in (self.query(flat), self.key(rows), self.value(rows)))
        bias, grid = None, (x.shape[-2], x.shape[-1])
        if attention is not None:
            bias = total_bias(attention.terms, q, k, grid, attention.growth)
            if attention.observer is not None:
                attention.observer(q, k, bias, grid)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, bias)[:, 0]
        return self.leave(nn.functional.silu(hidden + attended.transpose(1, 2).view_as(hidden)))


def token_ids(prompts: Sequence[str]) -> Tensor:
    """[B, 77]: start 1, tokens, end 2, padding 0."""
    ids = torch.zeros(len(prompts), 77, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        content = [1, *(token.piece.id for token in stream(prompt).tokens), 2]
        row[: len(content)] = torch.tensor(content)
    return ids


def tiny_model(prediction_type: Any = "epsilon", xl: bool = False, seed: int = 0) -> TrainingModel:
    """Seeded random networks; `xl` has two text encoders, pooled text and sizes."""
    torch.manual_seed(seed)
    encoders = [TinyText(WIDTH), TinyText(8)] if xl else [TinyText(WIDTH)]
    width = sum(encoder.mix.out_features for encoder in encoders)
    unet = TinyUNet(width, 8 if xl else 0).requires_grad_(False)

    def encode_text(prompts: Sequence[str]) -> Conditioning:
        ids = token_ids(prompts)
        rows = [encoder(ids) for encoder in encoders]
        return Conditioning(torch.cat(rows, -1), rows[-1][:, 1].detach() if xl else None)

    def encode_image(pixels: Tensor) -> Posterior:
        small = nn.functional.avg_pool2d(pixels, 8)
        mean = torch.cat([small, small.mean(1, keepdim=True)], 1)
        return Posterior(mean, torch.full_like(mean, 0.05))

    return TrainingModel(
        prompt_tokens=stream,
        tokenize=tokenize,
        encode_text=encode_text,
        predict=unet,
        encode_image=encode_image,
        noise=make_noise(prediction_type, scaled_linear_alphas()),
        width=width,
        text_weights={
            f"{index}.{name}": weight for index, part in enumerate(encoders) for name, weight in part.named_parameters()
        },
        size_multiple=32,
        decode_latents=lambda latents: nn.functional.interpolate(latents[:, :3].tanh(), scale_factor=8.0),
    )


def photo(seed: int = 0, size: tuple[int, int] = (64, 64), mask: Image.Image | None = None) -> Photo:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Photo(f"{seed}.png", Image.fromarray(pixels), mask)


def latent_views(model: TrainingModel, count: int = 3, **settings: Any) -> list[LatentView]:
    photos = [photo(seed) for seed in range(count)]
    return encode_views(model, make_views(photos, ViewSettings(64, multiple=model.size_multiple, **settings)))


def quick_config(method: Any = "direct", subject: str = "dog", **changes: Any) -> TrainingConfig:
    changes = {"steps": 6, "batch_size": 2, "held_out": 0, "patience": 0, "checkpoint_every": 0, **changes}
    if method == "paper":
        changes.setdefault("learning_rate", 1e-3)
    return default_config(method, subject, **changes)


def trainer(config: TrainingConfig, model: TrainingModel | None = None, **options: Any) -> Trainer:
    """A run on noise pictures."""
    model = model or tiny_model()
    method: ResidualMethod = make_method(model, config)
    batches = LatentBatches(latent_views(model), config, len(method.captions), 1000, model.device)
    return Trainer(method, batches, config, batches.held_out(), **options)


def broken_after(model: TrainingModel, calls: int) -> TrainingModel:
    """The model with a prediction of NaN from the given call on."""
    count = 0

    def predict(*arguments: Any) -> Tensor:
        nonlocal count
        count += 1
        return model.predict(*arguments) * (float("nan") if count > calls else 1.0)

    return replace(model, predict=predict)
