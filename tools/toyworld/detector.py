"""Trains the judge of the toy world on renderings, most of them made as soft as a denoiser's pictures."""

from __future__ import annotations

import random
from dataclasses import replace

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from cones2.evaluation.toyworld.detector import GRID, HEADS, PATTERNS, Detector
from cones2.evaluation.toyworld.world import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    MOST,
    Look,
    Scene,
    photo_scene,
    random_look,
    random_scene,
    render,
)

from .run import Options, Trainer
from .softness import Softened, faded, softened

POOL = 4096  # training pictures
LARGE_SHARE = 0.35  # of them show one object as large as in photos
WORDLESS_SHARE = 0.4  # of the objects get a badge, and as many of the rest dots: the world has them seldom


def answers(look: Look) -> tuple[int, ...]:
    """The right answer of every head about an object, in their order."""
    second = look.stripes or look.dots
    pattern = "striped" if look.stripes else "dotted" if look.dots else "plain"
    return (
        CLASSES.index(look.kind) + 1,
        COLORS.index(look.color),
        PATTERNS.index(pattern),
        COLORS.index(second or look.color),
        COLORS.index(look.badge) + 1 if look.badge else 0,
    )


def labels(scenes: list[Scene], owners: torch.Tensor) -> torch.Tensor:
    """Targets [B, 5, 32, 32] for the heads, in their order; 0 in `kind` is background."""
    grid = owners[:, 1::2, 1::2].long()
    tables = torch.zeros(len(scenes), len(HEADS), MOST + 1, dtype=torch.long)
    for row, scene in enumerate(scenes):
        for index, thing in enumerate(scene.things):
            tables[row, :, index + 1] = torch.tensor(answers(thing.look))
    cells = grid.flatten(1)[:, None].expand(-1, len(HEADS), -1)
    return tables.gather(2, cells).unflatten(2, (GRID, GRID))


def example_scene(rng: random.Random) -> Scene:
    """A scene of the world, or one large object alone, which the world has seldom and denoisers paint often."""
    if rng.random() < LARGE_SHARE:
        scene = photo_scene(rng, random_look(rng, rng.choice(CLASSES)), rng.choice(BACKGROUNDS))
    else:
        scene = random_scene(rng)
    return replace(scene, things=tuple(replace(t, look=_more_wordless(rng, t.look)) for t in scene.things))


def _more_wordless(rng: random.Random, look: Look) -> Look:
    badge, second = rng.sample([c for c in COLORS if c != look.color], 2)
    if rng.random() < WORDLESS_SHARE:
        return replace(look, badge=badge if badge not in look.colors else look.badge)
    if rng.random() < WORDLESS_SHARE and look.stripes is None:
        return replace(look, dots=second if second not in look.colors else look.dots)
    return look


def without_second_colors(scene: Scene) -> Scene:
    """The same scene with every object in its body's color alone."""
    things = tuple(replace(t, look=Look(t.look.kind, t.look.color)) for t in scene.things)
    return replace(scene, things=things)


def _examples(vae: AutoencoderKL, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng, pictures, targets = random.Random(seed), [], []
    kinds = list(Softened)
    for part in range(POOL // 64):
        scenes = [example_scene(rng) for _ in range(64)]
        clean, owners = render(scenes)
        if part % 2:
            torch.manual_seed(seed * 10_007 + part)
            clean = faded(clean, render([without_second_colors(scene) for scene in scenes])[0])
        seen, owners = softened(vae, clean, owners, kinds[part % len(kinds)], seed * 10_007 + part)
        pictures.append(seen)
        targets.append(labels(scenes, owners))
    return torch.cat(pictures), torch.cat(targets)


def detector_loss(logits: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the class everywhere, of the looks inside objects only."""
    weights = torch.tensor([0.3] + [1.0] * len(CLASSES), device=targets.device)
    loss = F.cross_entropy(logits["kind"], targets[:, 0], weight=weights)
    inside = targets[:, 0] > 0
    for index, name in enumerate(HEADS):
        where = inside & (targets[:, 2] > 0) if name == "second" else inside
        if index and where.any():
            picked = logits[name].permute(0, 2, 3, 1)[where]
            loss = loss + 0.5 * F.cross_entropy(picked, targets[:, index][where])
    return loss


def _perturbed(pictures: torch.Tensor, rng: random.Random) -> torch.Tensor:
    noise = rng.choice((0.0, 0.02, 0.05)) * torch.randn_like(pictures)
    shift = (torch.rand(len(pictures), 3, 1, 1, device=pictures.device) - 0.5) * 0.06
    return pictures + noise + shift


def train(options: Options) -> None:
    """Train the judge into WORK/detector.safetensors."""
    torch.manual_seed(options.seed)
    vae = AutoencoderKL.from_pretrained(options.work / "vae", torch_dtype=torch.float32).eval()
    detector = Detector().to(options.device)
    trainer = Trainer("detector", detector, options, decay=0.0)
    pictures, targets = _examples(vae, options.seed + 31)
    while trainer.running():
        rng = random.Random(options.seed * 1_000_003 + trainer.step)
        rows = [rng.randrange(POOL) for _ in range(options.batch)]
        x = _perturbed(pictures[rows].to(options.device), rng)
        trainer.apply(detector_loss(detector(x), targets[rows].to(options.device)))
    save_file(detector.cpu().state_dict(), options.work / "detector.safetensors")
