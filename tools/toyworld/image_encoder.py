"""Trains the toy world's image encoder: a CLIP vision model that tells objects on white apart."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from cones2.diffusers_models.image_encoder import ImageEncoder, cutout_picture
from cones2.evaluation.toyworld.detector import HEADS
from cones2.evaluation.toyworld.world import SIZE

from .adapter_scenes import any_look, cutouts
from .detector import answers
from .run import Options, Trainer, fill

POOL = 6144  # training pictures
PART = 64  # rendered together
NETWORK: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": 8,
    "projection_dim": 128,
}


class Classifier(nn.Module):
    """The encoder with a linear head on its embedding for every question about a look."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**NETWORK))
        width = int(NETWORK["projection_dim"])
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in HEADS.items()})

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits [B, answers] by question."""
        embedding = self.encoder(pixels).image_embeds
        return {name: head(embedding) for name, head in self.heads.items()}


def pictures(encoder: ImageEncoder, seed: int, count: int = POOL) -> tuple[torch.Tensor, torch.Tensor]:
    """Objects alone as the encoder takes them [count, 3, 64, 64], and the right answers [count, questions]."""
    rng, pixels, targets = random.Random(f"image encoder {seed}"), [], []
    for _ in range(0, count, PART):
        looks = [any_look(rng) for _ in range(PART)]
        pixels += [encoder.pixels(cutout_picture(each)) for each in cutouts(rng, looks)]
        targets += [answers(look) for look in looks]
    return torch.cat(pixels), torch.tensor(targets)


def classification_loss(logits: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every question; an object of one color has no second one to ask for."""
    loss = torch.zeros(())
    for index, name in enumerate(HEADS):
        asked = targets[:, 2] > 0 if name == "second" else torch.ones(len(targets), dtype=torch.bool)
        if bool(asked.any()):
            loss = loss + F.cross_entropy(logits[name][asked], targets[asked, index])
    return loss


@torch.no_grad()
def accuracy(classifier: Classifier, pixels: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Share of right answers by question."""
    logits = classifier(pixels)
    right = {name: logits[name].argmax(1) == targets[:, index] for index, name in enumerate(HEADS)}
    return {name: float(hits[targets[:, 2] > 0].float().mean() if name == "second" else hits.float().mean())
            for name, hits in right.items()}  # fmt: skip


def train(options: Options) -> None:
    """Train the encoder into WORK/image_encoder (its moving average) and print what it knows of unseen pictures."""
    torch.manual_seed(options.seed)
    classifier = Classifier()
    trainer = Trainer("image_encoder", classifier, options)
    pixels, targets = pictures(ImageEncoder(classifier.encoder), options.seed)
    while trainer.running():
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + trainer.step)
        rows = torch.randint(len(pixels), (options.batch,), generator=generator)
        flipped = torch.where(
            torch.rand(len(rows), 1, 1, 1, generator=generator) < 0.5, pixels[rows].flip(-1), pixels[rows]
        )
        noisy = flipped + 0.05 * torch.randn(flipped.shape, generator=generator)
        trainer.apply(classification_loss(classifier(noisy), targets[rows]))
    fill(classifier, trainer.average.kept)
    print(accuracy(classifier.eval(), *pictures(ImageEncoder(classifier.encoder), options.seed + 1, 512)), flush=True)
    classifier.encoder.save_pretrained(options.work / "image_encoder")
