"""The judge: a small network that says, per cell, which class is there and in which colours.

It is trained on renderings alone and never sees the denoiser; half of its training pictures
have been through the autoencoder, so that it is not put off by the decoder's softness.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import nn

from .run import Options, Trainer
from .world import CLASSES, COLOURS, Look, Scene, random_scene, render

GRID = 32  # cells per side
SMALLEST = 18  # cells of one class that count as an object
HEADS = {"kind": len(CLASSES) + 1, "colour": len(COLOURS), "striped": 2, "stripes": len(COLOURS)}
POOL = 3072


def _block(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outer), nn.ReLU(inplace=True))


class Detector(nn.Module):
    """Pictures [B, 3, 64, 64] in [0, 1] to logits of every head, [B, n, 32, 32] each."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_block(3, 24, 2), _block(24, 32))
        self.middle = nn.Sequential(_block(32, 64, 2), _block(64, 64))
        self.coarse = nn.Sequential(_block(64, 96, 2), _block(96, 96), _block(96, 96))
        self.merge_middle = _block(160, 64)
        self.merge_fine = nn.Sequential(_block(96, 40), _block(40, 40))
        self.head = nn.Conv2d(40, sum(HEADS.values()), 1)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.fine(pictures * 2 - 1)
        middle = self.middle(fine)
        coarse = F.interpolate(self.coarse(middle), scale_factor=2)
        middle = F.interpolate(self.merge_middle(torch.cat([middle, coarse], 1)), scale_factor=2)
        logits = self.head(self.merge_fine(torch.cat([fine, middle], 1)))
        return dict(zip(HEADS, logits.split(list(HEADS.values()), 1), strict=True))


@dataclass(frozen=True)
class Found:
    """An object seen: its look, centre as fractions of the picture, cells [32, 32] it covers."""

    look: Look
    x: float
    y: float
    cells: torch.Tensor


def _look(kind: int, logits: dict[str, torch.Tensor], row: int, cells: torch.Tensor) -> Look:
    votes = {k: int(v[row][:, cells].softmax(0).mean(1).argmax()) for k, v in logits.items() if k != "kind"}
    stripes = COLOURS[votes["stripes"]] if votes["striped"] else None
    return Look(CLASSES[kind], COLOURS[votes["colour"]], stripes)


@torch.no_grad()
def detect(detector: Detector, pictures: torch.Tensor) -> list[dict[str, Found]]:
    """For every picture, the classes present and how each looks."""
    logits = detector(pictures)
    owner = logits["kind"].argmax(1)
    results = []
    for row in range(len(pictures)):
        found = {}
        for kind, name in enumerate(CLASSES):
            cells = owner[row] == kind + 1
            if int(cells.sum()) >= SMALLEST:
                y, x = ((cells.nonzero().float().mean(0) + 0.5) / GRID).tolist()
                found[name] = Found(_look(kind, logits, row, cells), x, y, cells)
        results.append(found)
    return results


def labels(scenes: list[Scene], owners: torch.Tensor) -> torch.Tensor:
    """Targets [B, 4, 32, 32] for the heads, in their order; 0 in `kind` is background."""
    grid = owners[:, 1::2, 1::2].long()
    tables = torch.zeros(len(scenes), 4, 4, dtype=torch.long)
    for row, scene in enumerate(scenes):
        for index, thing in enumerate(scene.things):
            look = thing.look
            second = COLOURS.index(look.stripes or look.colour)
            values = (CLASSES.index(look.kind) + 1, COLOURS.index(look.colour), int(look.stripes is not None), second)
            tables[row, :, index + 1] = torch.tensor(values)
    return tables.gather(2, grid.flatten(1)[:, None].expand(-1, 4, -1)).unflatten(2, (GRID, GRID))


@torch.no_grad()
def through(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Pictures after the autoencoder."""
    x = (pictures * 2 - 1).to(vae.device)
    return ((vae.decode(vae.encode(x).latent_dist.mean).sample + 1) / 2).clamp(0, 1).cpu()


def _examples(vae: AutoencoderKL, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng, pictures, targets = random.Random(seed), [], []
    for part in range(POOL // 64):
        scenes = [random_scene(rng) for _ in range(64)]
        clean, owners = render(scenes)
        pictures.append(through(vae, clean) if part % 2 else clean)
        targets.append(labels(scenes, owners))
    return torch.cat(pictures), torch.cat(targets)


def detector_loss(logits: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the class everywhere, of the colours inside objects only."""
    weights = torch.tensor([0.3] + [1.0] * len(CLASSES), device=targets.device)
    loss = F.cross_entropy(logits["kind"], targets[:, 0], weight=weights)
    inside = targets[:, 0] > 0
    for index, name in enumerate(HEADS):
        where = inside & (targets[:, 2] > 0) if name == "stripes" else inside
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


def load_detector(path: Path) -> Detector:
    """The trained judge, ready for use."""
    detector = Detector()
    detector.load_state_dict(load_file(path))
    return detector.eval()
