"""Looks at a transformer in training: `python -m tools.toyworld.preview --work DIR --to DIR`.

Draws scenes of two custom subjects with the moving average of the weights, prints what the judge sees,
a JSON line per arm, and writes a sheet: a row for each scene, its references and then a column per arm.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from cones2.assets import TOYWORLD
from cones2.evaluation.cases import Case, moved_on
from cones2.evaluation.scores import scores
from cones2.evaluation.toyworld.detector import load_detector
from cones2.evaluation.toyworld.judging import verdicts
from cones2.evaluation.toyworld.references import reference_pictures
from cones2.evaluation.toyworld.suites import toy_suite
from cones2.evaluation.toyworld.world import CLASSES, CUSTOM
from cones2.layout.drawing import grid

from .dit import CELLS, new_dit, prompt_rows
from .flow import PATCH, shifted, velocity
from .joint import JointProcessor, attach
from .pool import LATENT_SIDE
from .references import encoded
from .run import fill
from .steering import Steering, region_weights
from .words import CAPTION_ROWS, Words, context

SHOWN = 12  # scenes on the sheet
FIGURES = ("all_there", "in_place", "all_in_place", "own", "right", "all_right")


@dataclass(frozen=True)
class Arm:
    """One way to draw a scene: which references it is given, what its layout steers, which layout."""

    references: bool = False
    words: bool = False
    looks: bool = False
    moved: bool = False


ARMS = {
    "words": Arm(),
    "layout": Arm(words=True),
    "layout, boxes exchanged": Arm(words=True, moved=True),
    "references": Arm(references=True),
    "references, layout on words": Arm(references=True, words=True),
    "references, layout on references": Arm(references=True, looks=True),
    "references, layout on references, boxes exchanged": Arm(references=True, looks=True, moved=True),
    "references, layout on both": Arm(references=True, words=True, looks=True),
    "references, layout on both, boxes exchanged": Arm(references=True, words=True, looks=True, moved=True),
}


class Drawer:
    """The transformer of a work folder with its text encoder and autoencoder."""

    def __init__(self, work: Path) -> None:
        state = torch.load(work / "dit.pt", map_location="cpu", weights_only=True)
        self.step = int(state["step"])
        self.dit = new_dit()
        fill(self.dit, state["average"])
        self.processor: JointProcessor = attach(self.dit.eval().requires_grad_(False))
        self.vae = AutoencoderKL.from_pretrained(work / "vae", torch_dtype=torch.float32).eval()
        self.words = Words(CLIPTokenizer.from_pretrained(work / "tokenizer"))
        encoder: Any = CLIPTextModel.from_pretrained(work / "text_encoder", torch_dtype=torch.float32)
        self.encoder = encoder.eval()

    def text(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [B, L, d], which belong to the prompts [B, L], and the classes that they name [B, L]."""
        ids = self.words.encode(prompts)[:, :CAPTION_ROWS]
        valid = prompt_rows(ids, self.words.tokenizer.eos_token_id)
        length = int(valid.sum(1).max())
        return context(self.encoder, ids)[:, :length], valid[:, :length], self.words.kinds(ids)[:, :length]

    @torch.inference_mode()
    def draw(self, cases: Sequence[Case], arm: Arm, steps: int, cfg: float) -> Tensor:
        """Pictures [B, 3, 64, 64] in [0, 1]; the uncond side has neither words nor references."""
        rows, valid, kinds = self.text([case.prompt for case in cases])
        nothing, empty, _ = self.text([""] * len(cases))
        references = self.references(cases) if arm.references else []
        weights = region_weights(cases, int(CELLS**0.5))
        nouns = torch.tensor([[CLASSES.index(s.word) + 1 for s in case.subjects] for case in cases])
        places = (kinds[:, None] == nouns[..., None]).int().argmax(-1)
        lengths = [r[0, 0].numel() // PATCH**2 for r in references] if arm.looks else []
        x = torch.stack([_noise(case.seed) for case in cases])
        levels = shifted(torch.linspace(1, 0, steps + 1))
        for now, then in pairwise(levels):
            level = now.expand(len(cases))
            self.processor.term = None
            without = velocity(self.dit, x, level, nothing, empty)
            if arm.words or arm.looks:
                self.processor.term = Steering(weights, level, valid, places if arm.words else None, lengths)
            told = velocity(self.dit, x, level, rows, valid, references)
            x = x + (then - now) * (without + cfg * (told - without))
        pictures = self.vae.decode(x / self.vae.config.scaling_factor).sample
        return (pictures / 2 + 0.5).clamp(0, 1)

    def references(self, cases: Sequence[Case]) -> list[Tensor]:
        """The latents of each case's first, second … reference: [B, 4, 8, 8] each."""
        return [encoded(self.vae, pictures) for pictures in shown_references(cases)]


def shown_references(cases: Sequence[Case]) -> list[Tensor]:
    """Pictures of each case's first, second … subject: [B, 3, 32, 32] each."""
    return [
        torch.cat([reference_pictures(random.Random(f"{c.seed} {k}"), [CUSTOM[c.subjects[k].name]]) for c in cases])
        for k in range(len(cases[0].subjects))
    ]


def _noise(seed: int) -> Tensor:
    return torch.randn(4, LATENT_SIDE, LATENT_SIDE, generator=torch.Generator().manual_seed(seed))


def _tile(picture: Tensor) -> Image.Image:
    pixels = Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy())
    return pixels.resize((128, 128), Image.Resampling.NEAREST)


def main() -> None:
    """Draw, judge, print, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="folder for the sheet")
    parser.add_argument("--count", type=int, default=24, help="scenes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    drawer, judge = Drawer(options.work), load_detector(TOYWORLD / "detector.safetensors")
    cases = toy_suite(2, "boxes", options.count, options.seed, "all").cases
    columns = [list(references) for references in shown_references(cases)]
    for name in options.arms:
        arm = ARMS[name]
        told = [moved_on(case) for case in cases] if arm.moved else list(cases)
        pictures = drawer.draw(told, arm, options.steps, options.cfg)
        figures = scores(verdicts(judge, pictures, told))
        row = {figure: round(getattr(figures, figure).value, 3) for figure in FIGURES}
        print(json.dumps({"step": drawer.step, "arm": name, "n": len(cases), **row}), flush=True)
        columns.append(list(pictures))
    options.to.mkdir(parents=True, exist_ok=True)
    tiles = [_tile(column[row]) for row in range(min(SHOWN, len(cases))) for column in columns]
    grid(tiles, len(columns)).save(options.to / f"{drawer.step:06d}.png")


if __name__ == "__main__":
    main()
