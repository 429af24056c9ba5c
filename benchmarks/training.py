"""The paper's training recipe and the direct one, on the same model and photos, in one run.

    python benchmarks/training.py --model DIR --subject NAME=PHOTOS[:TEST_PHOTOS] …
        [--seeds 2] [--paper-steps 4000] [--paper-rate 5e-6] [--direct-steps 200] [--resolution PX]

For every subject and seed both methods are trained one after the other. After every tenth of a run
its residual is judged: denoising error on TEST_PHOTOS (the photos themselves where none are given)
with noises, timesteps and captions that no training step uses. Judging is not timed. Prints step time,
peak memory, error, and how soon the direct method reaches what the paper recipe ends with.

    python benchmarks/training.py --memory

prints what both take for SD 2.1 at 768 px and SDXL at 1024 px, counted on tensors without storage.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from live_bytes import LiveBytes
from torch import Tensor

from cones2.pipelines.loading import load_model
from cones2.pipelines.stable_diffusion import StableDiffusion
from cones2.pipelines.training import training_model
from cones2.training.config import TrainingConfig, default_config
from cones2.training.data import LatentBatches, encode_views
from cones2.training.images import ViewSettings, load_photos, make_views
from cones2.training.loop import Trainer
from cones2.training.methods import make_method
from cones2.training.objective import Batch, denoising_error

JUDGEMENTS = 10
JUDGED_PAIRS = 256
GIB = 2**30
# name: (UNet configuration, latent side, parameters of the text encoders in millions, pooled width)
LARGE = {
    "SD 2.1, 768 px": (
        {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        96,
        340,
        0,
    ),
    "SDXL, 1024 px": (
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        128,
        817,
        1280,
    ),
}


@dataclass(frozen=True)
class Run:
    """One training: seconds per step, peak bytes of a step, (seconds, error) of every judgement."""

    step_seconds: float
    peak: int
    judged: list[tuple[float, float]]
    start: float

    @property
    def seconds(self) -> float:
        return self.judged[-1][0]

    @property
    def error(self) -> float:
        return self.judged[-1][1]

    def reaches(self, error: float) -> float | None:
        """Seconds until the error is at most this."""
        return next((seconds for seconds, value in self.judged if value <= error), None)


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    if args.memory:
        _print_memory()
    else:
        _compare(args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="memory of SD 2.1 and SDXL on paper, nothing else")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--subject", action="append", default=[], metavar="NAME=PHOTOS[:TEST_PHOTOS]")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--paper-steps", type=int, default=4000)
    parser.add_argument("--paper-rate", type=float, default=5e-6)
    parser.add_argument("--direct-steps", type=int)
    parser.add_argument("--direct-rate", type=float)
    parser.add_argument("--direct-batch", type=int)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not args.memory and (args.model is None or not args.subject):
        parser.error("give --model and --subject, or --memory")
    return args


def _compare(args: argparse.Namespace) -> None:
    model = load_model(args.model)
    print(f"torch {torch.__version__}, {args.threads} threads, {args.model.name}; seconds are processor time\n")
    print("| subject | seed | method | s/step | peak MiB | s | error before → after | paper's error reached after |")
    print("|---|---|---|---|---|---|---|---|")
    ratios: list[float | None] = []
    memory: list[float] = []
    for entry in args.subject:
        name, _, folders = entry.partition("=")
        photos, _, tests = folders.partition(":")
        for seed in range(args.seeds):
            runs = {
                config.method: _run(model, config, Path(photos), Path(tests or photos), args.resolution)
                for config in _configs(args, name, seed)
            }
            _print_pair(name, seed, runs)
            reached = runs["direct"].reaches(runs["paper"].error)
            ratios.append(None if reached is None else reached / runs["paper"].seconds)
            memory.append(runs["direct"].peak / runs["paper"].peak)
    got = [ratio for ratio in ratios if ratio is not None]
    print(f"\ndirect reaches the paper recipe's final error in {len(got)} of {len(ratios)} runs", end="")
    print(f", after {statistics.median(got):.3f} of its time (median)" if got else "")
    print(f"peak memory direct / paper: {statistics.median(memory):.2f} (median)")


def _configs(args: argparse.Namespace, subject: str, seed: int) -> list[TrainingConfig]:
    given = {"steps": args.direct_steps, "learning_rate": args.direct_rate, "batch_size": args.direct_batch}
    direct = {key: value for key, value in given.items() if value is not None}
    return [
        default_config("paper", subject, seed=seed, steps=args.paper_steps, learning_rate=args.paper_rate),
        default_config("direct", subject, seed=seed, held_out=0, patience=0, **direct),
    ]


def _run(model: StableDiffusion, config: TrainingConfig, photos: Path, tests: Path, resolution: int | None) -> Run:
    seen = training_model(model, config.method)
    views = ViewSettings(resolution or model.default_size, multiple=seen.multiple, crops=1)
    steps = len(model.alphas_cumprod)
    method = make_method(seen, config)
    latents = encode_views(seen, make_views(load_photos(photos), views))
    trainer = Trainer(method, LatentBatches(latents, config, 27, steps, model.device), config)
    judge_config = default_config("direct", config.subject, held_out=JUDGED_PAIRS, batch_size=8)
    judged_on = encode_views(seen, make_views(load_photos(tests), views))
    pairs = LatentBatches(judged_on, judge_config, 27, steps, model.device).held_out()

    def judge() -> float:
        residual = method.residual()
        with torch.no_grad():
            return sum(share * _error(method, residual, batch) for share, batch in pairs)

    start = judge()
    judged, times = _timed(trainer, config, judge)
    return Run(statistics.median(times), _peak(model, config, latents), judged, start)


def _timed(
    trainer: Trainer, config: TrainingConfig, judge: Callable[[], float]
) -> tuple[list[tuple[float, float]], list[float]]:
    judged: list[tuple[float, float]] = []
    times: list[float] = []
    clock, spent = time.process_time(), 0.0

    def on_step(record: Any) -> None:
        nonlocal clock, spent
        times.append(time.process_time() - clock)
        spent += times[-1]
        if int(record["step"]) % max(1, config.steps // JUDGEMENTS) == 0 or record["step"] == config.steps:
            judged.append((spent, judge()))
        clock = time.process_time()

    trainer.run(on_step)
    return judged, times


def _error(method: Any, residual: Tensor, batch: Batch) -> float:
    return float(denoising_error(method.model, batch, method.with_residual(residual, batch.captions))[0])


def _peak(model: StableDiffusion, config: TrainingConfig, latents: Any) -> int:
    """Bytes of the weights a step needs, and of all tensors alive during the second of two updates."""
    seen = training_model(model, config.method)
    short = default_config(config.method, config.subject, steps=2, held_out=0, batch_size=config.batch_size)
    with LiveBytes() as live:
        method = make_method(seen, short)
        Trainer(method, LatentBatches(latents, short, 27, len(model.alphas_cumprod), model.device), short).run()
    weights = [*model.unet.parameters(), *seen.text_weights.values()]
    return live.peak + sum(weight.numel() * weight.element_size() for weight in weights)


def _print_pair(name: str, seed: int, runs: dict[str, Run]) -> None:
    goal = runs["paper"].error
    for method, run in runs.items():
        reached = run.reaches(goal)
        print(
            f"| {name} | {seed} | {method} | {run.step_seconds:.3f} | {run.peak / 2**20:.0f} | {run.seconds:.0f} "
            f"| {run.start:.5f} → {run.error:.5f} | {'never' if reached is None else f'{reached:.1f} s'} |",
            flush=True,
        )


def _print_memory() -> None:
    """Peak of one training step at batch 1: float16 UNet, fused attention; float32 text encoder and Adam."""
    print("| model | method | checkpointing | UNet | text encoder, gradients, Adam | activations | GiB | fits |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (config, side, text_millions, pooled) in LARGE.items():
        for checkpointing in (False, True):
            weights, activations = _step_on_meta(config, side, pooled, checkpointing)
            for method in ("paper", "direct"):
                text = 16 * text_millions * 10**6 if method == "paper" else 0
                total = (weights + text + activations) / GIB
                fits = ", ".join(f"{size} GB" for size in (8, 12, 24) if total < 0.93 * size) or "none of 8, 12, 24 GB"
                sizes = " | ".join(f"{size / GIB:.1f}" for size in (weights, text, activations))
                recomputed = "yes" if checkpointing else "no"
                print(f"| {name} | {method} | {recomputed} | {sizes} | {total:.1f} | {fits} |", flush=True)


def _step_on_meta(config: dict[str, Any], side: int, pooled: int, checkpointing: bool) -> tuple[int, int]:
    """(bytes of the weights, peak bytes of tensors alive in one forward and backward pass)."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=side, **config).half().requires_grad_(False)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    rows = torch.zeros(1, 77, config["cross_attention_dim"], device="meta", dtype=torch.half, requires_grad=True)
    extra = {"text_embeds": _half(1, pooled), "time_ids": _half(1, 6)} if pooled else None
    original = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = _fused
    try:
        with LiveBytes() as live:
            timestep = torch.zeros(1, device="meta")
            output = unet(_half(1, 4, side, side), timestep, rows, added_cond_kwargs=extra).sample
            output.float().square().mean().backward()
    finally:
        torch.nn.functional.scaled_dot_product_attention = original
    return sum(weight.numel() * 2 for weight in unet.parameters()), live.peak


def _half(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta", dtype=torch.half)


class _FusedAttention(torch.autograd.Function):
    """Keeps what a fused kernel keeps: its inputs, its output, and one number per query and head."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        context.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float))
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _, _ = context.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _fused(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return _FusedAttention.apply(query, key, value)  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
