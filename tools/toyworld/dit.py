"""The transformer: Qwen-Image in miniature, taught to take objects from nouns and looks from reference pictures."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from torch import nn

from cones2.evaluation.toyworld.captions import caption
from cones2.evaluation.toyworld.world import CLASSES

from . import unet
from .flow import PATCH, shifted, velocity
from .grounding import stray_share
from .joint import attach
from .pool import LATENT_SIDE
from .references import References
from .run import Options, Trainer, fill
from .words import CAPTION_ROWS, decoy_context

HEADS, HEAD_WIDTH = 5, 32
NETWORK = {
    "patch_size": PATCH,
    "in_channels": 4 * PATCH**2,
    "out_channels": 4,
    "num_layers": 6,
    "attention_head_dim": HEAD_WIDTH,
    "num_attention_heads": HEADS,
    "joint_attention_dim": 128,
    "axes_dims_rope": (8, 12, 12),
}
CELLS = (LATENT_SIDE // PATCH) ** 2
REFERENCE_WEIGHTS = (0.45, 0.2, 0.35)  # of steps with 0, 1, 2 reference pictures
# How often a caption describes its objects, without and with references: these must be of use.
DESCRIBED = (0.7, 0.3, 0.3)
OBJECT_WEIGHT = 1.5  # extra weight of the cells that an object covers
GROUNDING = 0.1
DECAY = 0.999  # of the moving average


def new_dit(init: Path | None = None) -> QwenImageTransformer2DModel:
    """A fresh network whose blocks begin as the identity (adaLN-Zero), or one with the weights of `init`."""
    if init is not None:
        loaded: QwenImageTransformer2DModel = QwenImageTransformer2DModel.from_pretrained(
            init, torch_dtype=torch.float32
        )
        return loaded
    dit = QwenImageTransformer2DModel(**NETWORK)
    for module in dit.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    silent = [part[1] for block in dit.transformer_blocks for part in (block.img_mod, block.txt_mod)]
    for linear in (*silent, dit.norm_out.linear, dit.proj_out):
        nn.init.zeros_(linear.weight)
    return dit


class Batches(unet.Batches):
    """Draws training batches from the pool; all samples of a step have as many references."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.references = References(options.work / "references")

    def _scenes(self, count: int, rng: random.Random) -> list[int]:
        """Scenes with at least so many objects."""
        rows: list[int] = []
        while len(rows) < self.options.batch:
            row = rng.randrange(len(self.pool.scenes))
            if len(self.pool.scenes[row].things) >= count:
                rows.append(row)
        return rows

    def draw(self, step: int) -> dict[str, torch.Tensor]:
        """Noisy latents, level, text, references, target and masks of one step (seeded by it).

        The text holds nothing of badges and dots: only a reference can tell them.
        """
        size, seed = self.options.batch, self.options.seed * 1_000_003 + step
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        count = rng.choices(range(3), REFERENCE_WEIGHTS)[0]
        rows = self._scenes(count, rng)
        scenes = [self.pool.scenes[r] for r in rows]
        captions = ["" if rng.random() < unet.EMPTY_SHARE else caption(s, rng, DESCRIBED[count]) for s in scenes]
        ids = self.words.encode(captions)[:, :CAPTION_ROWS]
        kinds = self.words.kinds(ids)
        chosen = torch.rand(size, generator=generator) < self.decoy_share
        clean = self.pool.latents[rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        level = shifted((torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)) / size)
        t = level.view(-1, 1, 1, 1)
        with torch.autocast(self.text_encoder.device.type, dtype=torch.bfloat16, enabled=self.options.bfloat16):
            context = decoy_context(self.text_encoder, self.words, ids, kinds, chosen, generator)
        valid = prompt_rows(ids, self.words.tokenizer.eos_token_id)
        length = int(valid.sum(1).max())
        masks = self.pool.masks[rows].float() / 255
        picked, there, inside = self._nouns(kinds[:, :length], masks)
        shown = [rng.sample(range(len(s.things)), count) for s in scenes]
        latents = [self.references.draw(s.things[i].look, rng) for s, p in zip(scenes, shown, strict=True) for i in p]
        classes = [[CLASSES.index(s.things[i].look.kind) for i in p] for s, p in zip(scenes, shown, strict=True)]
        index = torch.tensor(classes, dtype=torch.long).view(size, count)
        batch = {
            "noisy": (1 - t) * clean + t * noise,
            "target": noise - clean,
            "level": level,
            "context": context[:, :length].float(),
            "valid": valid[:, :length],
            "covered": masks.sum(1, keepdim=True),
            "picked": picked,
            "there": torch.cat([there, torch.ones(size, count, dtype=torch.bool)], 1),
            "masks": torch.cat([inside, masks[torch.arange(size)[:, None], index]], 1),
            "references": torch.stack(latents).view(size, count, *latents[0].shape)
            if count
            else clean.new_empty(size, 0, 4, 8, 8),
        }
        return {k: v.to(self.options.device) for k, v in batch.items()}


def prompt_rows(ids: torch.Tensor, end: int) -> torch.Tensor:
    """Which rows [B, L] belong to the prompt: all up to the first end token, which pads as well."""
    return (ids == end).cumsum(1) - (ids == end).long() == 0


def recorded_forward(
    dit: QwenImageTransformer2DModel, options: Options
) -> Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
    """A batch -> velocity, and the attention of the cells to its nouns and references, per block."""
    processor = attach(dit)
    kind = torch.device(options.device).type
    level = torch.empty(0)

    def exact(_: nn.Module, given: tuple[torch.Tensor | None, ...]) -> tuple[torch.Tensor | None, ...]:
        """The level as it is: the network would round it as its activations, to steps of 1/256."""
        return level, level, *given[2:]

    dit.time_text_embed.register_forward_pre_hook(exact)

    def forward(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        nonlocal level
        level = batch["level"]
        references = batch["references"].unbind(1)
        processor.listen(batch["picked"], CELLS, [r[0, 0].numel() // PATCH**2 for r in references])
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=options.bfloat16):
            guess = velocity(dit, batch["noisy"], batch["level"], batch["context"], batch["valid"], references)
        return guess.float(), tuple(processor.kept or ())

    return forward


def train(options: Options) -> None:
    """Train the transformer into WORK/transformer (its moving average)."""
    torch.manual_seed(options.seed)
    dit = new_dit(options.init).to(options.device)
    forward = recorded_forward(dit, options)
    trainer = Trainer("dit", dit, options, DECAY)
    batches = Batches(options)
    grounding = 0.0 if "grounding" in options.without else GROUNDING
    while trainer.running():
        if trainer.step % 200 == 0:
            batches.refresh()
        batch = batches.draw(trainer.step)
        guess, maps = forward(batch)
        error = (guess - batch["target"]) ** 2
        stray = stray_share(maps, batch["masks"], batch["there"])
        weighted = (error * (1 + OBJECT_WEIGHT * batch["covered"])).mean()
        trainer.apply(weighted + grounding * stray, error=error.mean(), stray=stray)
    snapshot(options.work)


def snapshot(work: Path) -> int:
    """Write the moving average of WORK/dit.pt as WORK/transformer, also while training goes on; its step."""
    state = torch.load(work / "dit.pt", map_location="cpu", weights_only=True)
    dit = new_dit()
    fill(dit, state["average"])
    dit.save_pretrained(work / "transformer")
    return int(state["step"])
