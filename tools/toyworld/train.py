"""One resumable command per stage: `python -m tools.toyworld.train STAGE --work DIR`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import AutoencoderKL

from cones2.assets import TOYWORLD

from . import detector, dit, pool, references, residuals, text, tokenizer, unet, vae
from .export import export, export_judge
from .run import Options


class Stage(NamedTuple):
    """What a stage runs, and its usual steps, batch size and learning rate."""

    run: Callable[[Options], None]
    steps: int = 0
    batch: int = 0
    rate: float = 0.0


def make_pool(options: Options) -> None:
    """Encode `steps` shards of 1024 scenes into WORK/pool."""
    encoder = AutoencoderKL.from_pretrained(options.work / "vae", torch_dtype=torch.float32)
    encoder = encoder.to(options.device).eval()
    for shard in range(1, options.steps + 1):
        pool.write_shards(encoder, options.work / "pool", range(shard, shard + 1))
        print(f"pool: {shard} of {options.steps} shards", flush=True)


def begin(options: Options) -> None:
    """Put the shipped tokenizer and autoencoder into WORK, to be trained further; what is there stays."""
    for name in ("tokenizer", "vae"):
        if not (options.work / name).exists():
            shutil.copytree(TOYWORLD / name, options.work / name)


STAGES = {
    "begin": Stage(begin),
    "text": Stage(text.train, 600, 64, 1.5e-3),
    "vae": Stage(vae.train, 4000, 16, 2e-3),
    "decoder": Stage(vae.tune_decoder, 3000, 16, 1e-3),
    "encoder": Stage(vae.tune, 600, 16, 5e-4),
    "pool": Stage(make_pool, 40),
    "detector": Stage(detector.train, 3200, 32, 3e-3),
    "unet": Stage(unet.train, 12000, 64, 1e-3),
    "references": Stage(references.make_references, 12),
    "dit": Stage(dit.train, 30000, 32, 1e-3),
    "residuals": Stage(lambda options: residuals.train(options, TOYWORLD)),
}

EXPORTS = {"export": export, "export-judge": export_judge}


def main() -> None:
    """Run one stage; started again, it continues where it was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["tokenizer", *STAGES, *EXPORTS])
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, logs and results of all stages")
    parser.add_argument(
        "--steps",
        type=int,
        help="training steps in all (pool: shards of 1024 scenes; references: pictures of each look)",
    )
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--init", type=Path, help="text, unet, dit: weights to start from; vae: latent space to keep")
    parser.add_argument(
        "--fast",
        action="store_true",
        help="unet, decoder, encoder: compiled, bfloat16 over float32 weights (for a GPU, or a CPU with AMX)",
    )
    parser.add_argument("--bfloat16", action="store_true", help="also dit: the same, but not compiled (AVX512_BF16)")
    parser.add_argument("--clip-tokenizer", type=Path, help="tokenizer: folder with CLIP's vocab.json and merges.txt")
    parser.add_argument(
        "--without",
        nargs="*",
        default=(),
        choices=unet.PARTS,
        help="unet, dit: parts of the recipe left out, for a control",
    )
    parser.add_argument(
        "--to", type=Path, default=TOYWORLD, help="export, export-judge: target folder (default: what ships)"
    )
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    if given.stage == "tokenizer":
        if given.clip_tokenizer is None:
            parser.error("the tokenizer stage needs --clip-tokenizer, e.g. ComfyUI's comfy/sd1_tokenizer")
        tokenizer.build(given.clip_tokenizer, given.work / "tokenizer")
    elif given.stage in EXPORTS:
        EXPORTS[given.stage](given.work, given.to)
    else:
        stage = STAGES[given.stage]
        options = Options(
            given.work,
            given.steps or stage.steps,
            given.batch or stage.batch,
            given.rate or stage.rate,
            given.device,
            given.seed,
            given.init,
            given.fast or given.bfloat16,
            given.fast,
            frozenset(given.without),
        )
        stage.run(options)


if __name__ == "__main__":
    main()
