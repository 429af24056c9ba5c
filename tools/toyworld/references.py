"""Encoded reference pictures of every look, made once and shared by the steps of training."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from cones2.evaluation.toyworld.references import known_looks, reference_pictures
from cones2.evaluation.toyworld.world import Look

from .run import Options, write_atomically


@torch.no_grad()
def encoded(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Scaled mean latents [B, 4, h / 4, w / 4] of pictures [B, 3, h, w] in [0, 1]."""
    mean = vae.encode((pictures * 2 - 1).to(vae.device)).latent_dist.mean
    return mean.float().cpu() * vae.config.scaling_factor


def make_references(options: Options) -> None:
    """Write `steps` files into WORK/references, each with one picture of every look."""
    folder = options.work / "references"
    folder.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(options.work / "vae", torch_dtype=torch.float32)
    vae = vae.to(options.device).eval()
    looks = list(known_looks())
    for seed in range(1, options.steps + 1):
        path = folder / f"{seed:06d}.pt"
        if not path.exists():
            rng = random.Random(f"references {seed}")
            parts = [encoded(vae, reference_pictures(rng, looks[i : i + 64])) for i in range(0, len(looks), 64)]
            write_atomically(path, torch.cat(parts).half())
        print(f"references: {seed} of {options.steps} pictures of each look", flush=True)


class References:
    """What `make_references` wrote."""

    def __init__(self, folder: Path) -> None:
        self.latents = torch.stack([torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))])
        self.places = {look: index for index, look in enumerate(known_looks())}

    def draw(self, look: Look, rng: random.Random) -> torch.Tensor:
        """The latents [4, 8, 8] of one of the look's pictures."""
        return self.latents[rng.randrange(len(self.latents)), self.places[look]].float()
