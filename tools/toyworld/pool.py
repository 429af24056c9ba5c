"""A pool of encoded scenes, made once and shared by the training stages."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from cones2.evaluation.toyworld.world import CLASSES, SIZE, Scene, random_scene, render

LATENT_SIDE = SIZE // 4
SHARD = 1024


def _empty(channels: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(0, channels, LATENT_SIDE, LATENT_SIDE, dtype=dtype)


@dataclass
class Pool:
    """Scenes with their latents [N, 4, 16, 16] and, per class, where it is [N, 8, 16, 16]."""

    scenes: list[Scene] = field(default_factory=list)
    latents: torch.Tensor = field(default_factory=lambda: _empty(4, torch.float16))
    masks: torch.Tensor = field(default_factory=lambda: _empty(len(CLASSES), torch.uint8))
    shards: set[str] = field(default_factory=set)


def class_masks(scenes: list[Scene], owners: torch.Tensor) -> torch.Tensor:
    """Share of each latent cell covered by each class: [B, classes, 16, 16], uint8 in 0..255."""
    masks = torch.zeros(len(scenes), len(CLASSES), LATENT_SIDE, LATENT_SIDE, dtype=torch.uint8)
    for row, scene in enumerate(scenes):
        for index, thing in enumerate(scene.things):
            mine = (owners[row] == index + 1).float()[None]
            share = F.adaptive_avg_pool2d(mine, LATENT_SIDE)[0]
            masks[row, CLASSES.index(thing.look.kind)] = (share * 255).round().to(torch.uint8)
    return masks


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled mean latents (half precision) and class masks of the scenes."""
    pictures, owners = render(scenes)
    posterior = vae.encode((pictures * 2 - 1).to(vae.device)).latent_dist
    latents = posterior.mean.float().cpu() * vae.config.scaling_factor
    return latents.half(), class_masks(scenes, owners)


def make_shard(vae: AutoencoderKL, seed: int) -> dict[str, Any]:
    """One shard of scenes; the seed decides its content."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(SHARD)]
    parts = [encode_scenes(vae, scenes[i : i + 64]) for i in range(0, SHARD, 64)]
    return {"seed": seed, "latents": torch.cat([p[0] for p in parts]), "masks": torch.cat([p[1] for p in parts])}


def write_shards(vae: AutoencoderKL, folder: Path, seeds: range) -> None:
    """Write the missing shards, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"{seed:06d}.pt"
        if not path.exists():
            torch.save(make_shard(vae, seed), path.with_suffix(".tmp"))
            path.with_suffix(".tmp").rename(path)


def read_pool(folder: Path, pool: Pool | None = None) -> Pool:
    """All shards of the folder; a given pool gains those it lacks."""
    pool = Pool() if pool is None else pool
    for path in sorted(folder.glob("*.pt")):
        if path.name in pool.shards:
            continue
        shard = torch.load(path, weights_only=True)
        rng = random.Random(shard["seed"])
        pool.scenes += [random_scene(rng) for _ in range(SHARD)]
        pool.latents = torch.cat([pool.latents, shard["latents"]])
        pool.masks = torch.cat([pool.masks, shard["masks"]])
        pool.shards.add(path.name)
    return pool
