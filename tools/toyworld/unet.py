"""The denoiser: SD's UNet in miniature, taught to take objects from their nouns alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from cones2.evaluation.toyworld.captions import caption, wordless_rows
from cones2.evaluation.toyworld.world import CLASSES, MOST, Scene

from .grounding import attach, stray_share
from .pool import Pool, read_pool
from .run import Options, Trainer, fill
from .words import Words, decoy_context

SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
NETWORK = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 128,
    "attention_head_dim": 2,
}
PARTS = ("decoys", "grounding")
DECOY_SHARE = 0.8
EMPTY_SHARE = 0.1
OBJECT_WEIGHT = 1.5  # extra weight of the cells that an object covers
GROUNDING = 0.1


def new_unet(init: Path | None = None) -> UNet2DConditionModel:
    """A fresh network, or one with the weights of the folder `init`."""
    unet = UNet2DConditionModel(**NETWORK)
    if init is not None:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(init, torch_dtype=torch.float32).state_dict())
    return unet


class Batches:
    """Draws training batches from the pool."""

    def __init__(self, options: Options) -> None:
        work = options.work
        self.options = options
        self.words = Words(CLIPTokenizer.from_pretrained(work / "tokenizer"))
        encoder: Any = CLIPTextModel.from_pretrained(work / "text_encoder", torch_dtype=torch.float32)
        self.text_encoder = encoder.to(options.device).eval().requires_grad_(False)
        self.decoy_share = 0.0 if "decoys" in options.without else DECOY_SHARE
        self.signal = DDIMScheduler(**SCHEDULE).alphas_cumprod
        self.pool: Pool = read_pool(work / "pool")

    def refresh(self) -> None:
        """Take in shards that were written meanwhile."""
        self.pool = read_pool(self.options.work / "pool", self.pool)

    def draw(self, step: int) -> dict[str, torch.Tensor]:
        """Noisy latents, time, conditioning, target and masks of one step (seeded by it)."""
        size, seed = self.options.batch, self.options.seed * 1_000_003 + step
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        rows = [rng.randrange(len(self.pool.scenes)) for _ in range(size)]
        captions = ["" if rng.random() < EMPTY_SHARE else caption(self.pool.scenes[r], rng) for r in rows]
        ids = self.words.encode(captions)
        kinds = self.words.kinds(ids)
        chosen = torch.rand(size, generator=generator) < self.decoy_share
        clean = self.pool.latents[rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        time = ((torch.arange(size) + torch.rand(size, generator=generator)) * 1000 / size).long()
        a = self.signal[time].view(-1, 1, 1, 1)
        with torch.autocast(self.text_encoder.device.type, dtype=torch.bfloat16, enabled=self.options.bfloat16):
            context = decoy_context(self.text_encoder, self.words, ids, kinds, chosen, generator)
        context = context.float()
        for row, scene in enumerate(self.pool.scenes[r] for r in rows):
            add_wordless(context[row], kinds[row], scene)
        picked, valid, masks = self._nouns(kinds, self.pool.masks[rows].float() / 255)
        batch = {
            "noisy": a.sqrt() * clean + (1 - a).sqrt() * noise,
            "target": a.sqrt() * noise - (1 - a).sqrt() * clean,
            "time": time,
            "context": context,
            "covered": self.pool.masks[rows].float().sum(1, keepdim=True) / 255,
            "picked": picked,
            "valid": valid,
            "masks": masks,
        }
        return {k: v.to(self.options.device) for k, v in batch.items()}

    @staticmethod
    def _nouns(kinds: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows of up to six nouns [B, 6], which exist [B, 6], and their objects [B, 6, 16, 16]."""
        order = (kinds > 0).int().argsort(dim=1, descending=True, stable=True)[:, :MOST]
        named = kinds.gather(1, order)
        shape = (*named.shape, *masks.shape[-2:])
        index = (named - 1).clamp_min(0)[..., None, None].expand(shape)
        return order, named > 0, masks.gather(1, index)


def add_wordless(context: torch.Tensor, kinds: torch.Tensor, scene: Scene) -> None:
    """Add to the noun rows of one caption [L, d] what words cannot say of their objects. kinds: [L]."""
    for thing in scene.things:
        if thing.look != thing.look.sayable:
            context[kinds == CLASSES.index(thing.look.kind) + 1] += wordless_rows(thing.look, context.shape[-1])


def recorded_forward(
    unet: UNet2DConditionModel, options: Options
) -> Callable[..., tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
    """(noisy, time, context, picked) -> velocity and the attention maps of the picked rows."""
    recorder = attach(unet)
    kind = torch.device(options.device).type

    def forward(
        noisy: torch.Tensor, time: torch.Tensor, context: torch.Tensor, picked: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        recorder.listen(picked)
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=options.bfloat16):
            guess = unet(noisy, time, context, return_dict=False)[0]
        return guess.float(), tuple(recorder.kept)

    return torch.compile(forward, dynamic=False) if options.compiled else forward


def train(options: Options) -> None:
    """Train the UNet into WORK/unet (its moving average)."""
    torch.manual_seed(options.seed)
    unet = new_unet(options.init).to(options.device)
    forward = recorded_forward(unet, options)
    trainer = Trainer("unet", unet, options)
    batches = Batches(options)
    grounding = 0.0 if "grounding" in options.without else GROUNDING
    while trainer.running():
        if trainer.step % 200 == 0:
            batches.refresh()
        batch = batches.draw(trainer.step)
        guess, maps = forward(*(batch[name] for name in ("noisy", "time", "context", "picked")))
        error = (guess - batch["target"]) ** 2
        stray = stray_share(maps, batch["masks"], batch["valid"])
        weighted = (error * (1 + OBJECT_WEIGHT * batch["covered"])).mean()
        trainer.apply(weighted + grounding * stray, error=error.mean(), stray=stray)
    snapshot(options.work)


def snapshot(work: Path) -> int:
    """Write the moving average of WORK/unet.pt as WORK/unet, also while training goes on; its step."""
    state = torch.load(work / "unet.pt", map_location="cpu", weights_only=True)
    unet = new_unet()
    fill(unet, state["average"])
    unet.save_pretrained(work / "unet")
    return int(state["step"])
