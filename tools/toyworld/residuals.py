"""Residual embeddings of the custom subjects, optimised directly on the frozen text encoder.

Cones 2 (arXiv 2305.19327, section 3.2) tunes the text encoder and keeps only the mean change of
the subject's row. Here that row's change is the variable itself: nothing else survives training
anyway, and no gradient has to pass through the text encoder.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from cones2.pipelines.loading import load_model
from cones2.pipelines.stable_diffusion import StableDiffusion
from cones2.residual import make_residual, save_residual
from cones2.tokens import find_phrase

from .captions import TEMPLATES
from .run import Options
from .subjects import read_subject
from .world import SUBJECTS

SHRINK = 1e-4  # weight of |residual|^2, so that it grows no longer than it must


@torch.no_grad()
def _latents(model: StableDiffusion, pictures: torch.Tensor) -> torch.Tensor:
    encoded = model.vae.encode((pictures * 2 - 1).to(model.device)).latent_dist.mean
    return encoded * model.vae.config.scaling_factor


def _prompts(model: StableDiffusion, word: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Conditioning of all templates [27, 77, d] and the word's row in each as a mask [27, 77, 1]."""
    encoded = model.encode_prompts(*(template.format(word) for template in TEMPLATES))
    marks = torch.zeros(len(encoded), encoded[0].conditioning.shape[1], 1)
    for index, prompt in enumerate(encoded):
        for rows in find_phrase(prompt.tokens, word, model.tokenise):
            marks[index, list(rows)] = 1
    return torch.cat([prompt.conditioning for prompt in encoded]).clone(), marks


def train_residual(model: StableDiffusion, pictures: torch.Tensor, word: str, options: Options) -> torch.Tensor:
    """The residual [1, d] that makes `word` mean the subject of `pictures` [N, 3, 64, 64]."""
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    latents, (prompts, marks) = _latents(model, pictures), _prompts(model, word)
    residual = torch.zeros(1, model.width, requires_grad=True)
    optimiser = torch.optim.Adam([residual], lr=options.rate, betas=(0.9, 0.99))
    for step in range(options.steps):
        optimiser.param_groups[0]["lr"] = options.rate * (1 - 0.9 * step / options.steps)
        rows = [rng.randrange(len(latents)) for _ in range(options.batch)]
        texts = [rng.randrange(len(prompts)) for _ in range(options.batch)]
        context = prompts[texts] + marks[texts] * residual
        loss = _velocity_loss(model, latents[rows], context) + SHRINK * residual.square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return residual.detach()


def _velocity_loss(model: StableDiffusion, clean: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the predicted velocity at evenly spread noise levels."""
    size = len(clean)
    time = ((torch.arange(size) + torch.rand(size)) * 1000 / size).long()
    a = model.alphas_cumprod[time].view(-1, 1, 1, 1)
    noise = torch.randn_like(clean)
    guess = model.unet(a.sqrt() * clean + (1 - a).sqrt() * noise, time, context, return_dict=False)[0]
    return ((guess - (a.sqrt() * noise - (1 - a).sqrt() * clean)) ** 2).mean()


def train(options: Options, assets: Path) -> None:
    """Train every subject that has no residual yet."""
    model = load_model(assets, device=options.device)
    for name, look in SUBJECTS.items():
        path = assets / "residuals" / f"{name}.safetensors"
        if not path.exists():
            residual = train_residual(model, read_subject(assets / "subjects" / name), look.kind, options)
            facts = {"base_model": "toyworld", "method": "direct", "steps": options.steps, "seed": options.seed}
            save_residual(make_residual(look.kind, residual, {k: str(v) for k, v in facts.items()}), path)
            print(f"residual {name}: norm {float(residual.norm()):.2f}", flush=True)
