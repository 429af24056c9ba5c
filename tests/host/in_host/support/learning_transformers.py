"""Tiny transformers as training takes them: with a VAE and a CLIP that have weights of their own, and a planted
residual that their targets come from."""

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import scenes
import torch
from tiny_transformers import Clip, Family, parts
from torch import Tensor, nn


def _patcher() -> Any:
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(nn.Linear(3, 16), load_device=cpu, offload_device=cpu)


class LearningClip(Clip):
    """A CLIP that encodes for training, too."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip.tokenizer, clip.cond_stage_model)
        self.patcher = _patcher()

    def encode_from_tokens(self, tokens: Any, return_pooled: bool = False) -> Any:
        cond, options = self.encode_from_tokens_scheduled(tokens)[0]
        return (cond, options["pooled_output"]) if return_pooled else cond


class TinyVae:
    """Eight pixels a side to one latent of 16 channels, mixed from their mean color."""

    def __init__(self, frames: bool) -> None:
        self.frames, self.patcher = frames, _patcher()

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: Tensor) -> Tensor:
        mixed = nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8).movedim(1, -1)
        latents = self.patcher.model(mixed).movedim(-1, 1).detach()
        return latents.unsqueeze(2) if self.frames else latents

    def decode(self, latents: Tensor) -> Tensor:
        still = latents[:, :, 0] if latents.ndim == 5 else latents
        return nn.functional.interpolate(still[:, :3].sigmoid(), scale_factor=8.0).movedim(1, -1)


def learning_parts(name: str) -> tuple[Any, LearningClip, TinyVae]:
    """MODEL, CLIP and VAE of a family."""
    model, clip, family = parts(name)
    return model, LearningClip(clip), TinyVae(family.frames)


@contextmanager
def training(name: str, checkpointing: bool = False) -> Any:
    """The TrainingModel of a family."""
    trainable = scenes.module("nodes.host.training_transformer").trainable_transformer
    with torch.inference_mode(False), trainable(*learning_parts(name), checkpointing) as model:
        yield model


def planted_run(model: Any, family: Family, steps: int, planted: Tensor | None = None) -> tuple[Any, Any, Tensor]:
    """A finished direct run whose targets are the model's own velocities with a planted residual.

    Returns the method, the history and the planted residual.
    """
    methods, noise = scenes.module("cones2.training.methods"), scenes.module("cones2.sampling.noise")
    batches, loop = scenes.module("cones2.training.batches"), scenes.module("cones2.training.loop")
    config = scenes.module("cones2.training.config").recipe_config(
        "photos",
        "dog",
        steps=steps,
        batch_size=2,
        held_out=0,
        checkpoint_every=0,
        learning_rate=0.05,
        schedule="constant",
    )

    class Planted(methods.DirectMethod):
        def forward(self, batch: Any) -> Any:
            self.asked = batch.captions
            return super().forward(batch)

    class PlantedNoise(noise.FlowNoise):
        def target(self, latents: Tensor, drawn: Tensor, timesteps: Tensor) -> Tensor:
            told = method.with_residual(planted, method.asked)
            with torch.no_grad():
                return model.predict(self.noisy(latents, drawn, timesteps), timesteps, told, None)

    method = Planted(replace(model, noise=PlantedNoise(model.noise.levels)), config)
    generator = torch.Generator().manual_seed(1)
    if planted is None:
        planted = torch.randn(method.token_num, model.width, generator=generator)
    latents = torch.randn(3, 16, 8, 8, generator=generator)
    views = [batches.LatentView(one, torch.zeros_like(one), None, torch.zeros(6)) for one in latents]
    drawn = batches.LatentBatches(views, config, len(method.captions), model.noise.train_steps, model.device)
    trainer = loop.Trainer(method, drawn, config, [])
    result = trainer.run()
    return method, result.history, planted
