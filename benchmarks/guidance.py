"""What layout guidance costs: plain attention, ours and the naive published form, in one interleaved run.

    python benchmarks/guidance.py [--rounds 15] [--forwards 5] [--device cpu] [--threads 2] [--only joint]

Prints Markdown tables: medians of the ratio to plain attention taken round by round, and the peak
of extra memory during the call; for cross-attention, and for text and picture in one sequence. Then
one batched cond + uncond forward of an SD1.5 UNet (random weights) with and without guidance, measured
and computed from the attention calls' share.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from live_bytes import LiveBytes
from torch import Tensor

from cones2.guidance.cross_attention import LayoutBias, guided_attention
from cones2.guidance.features import Gains, Placed, with_features
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import Box, layout_from_boxes
from cones2.sampling.noise import log_growth

TOKENS = 77
SIGMA = 5.0
# model: (heads, grid side, d_head, number of such cross-attention layers)
SHAPES = {
    "SD1.5, 512 px": [(8, 64, 40, 5), (8, 32, 80, 5), (8, 16, 160, 5), (8, 8, 160, 1)],
    "SD2.1, 768 px": [(5, 96, 64, 5), (10, 48, 64, 5), (20, 24, 64, 5), (20, 12, 64, 1)],
    "SDXL, 1024 px": [(10, 64, 64, 10), (20, 32, 64, 60)],
}
# model: (heads, grid side, tokens of text, d_head); heads are fewer than the models', whose calls grow with them alike
JOINT_SHAPES = {
    "Flux.1, 1024 px": (4, 64, 512, 128),
    "SD3.5, 1024 px": (4, 64, 333, 64),
    "Qwen-Image, 512 px": (24, 32, 512, 128),
    "Qwen-Image, 1024 px": (4, 64, 64, 128),
}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {_machine(args.device)}, {args.threads} threads, float32, medians\n")
    extra_seconds = 0.0 if args.only == "joint" else _cross_attention(args)
    if args.only != "cross":
        _joint_attention(args)
    if args.forwards and not args.only:
        _measure_forward(args, extra_seconds)


def _cross_attention(args: argparse.Namespace) -> float:
    """A table; returns how much longer an SD1.5 UNet takes, in seconds."""
    print("| model | heads × positions × d_head | ours / plain | naive / plain | memory ours, naive (MiB) | share |")
    print("|---|---|---|---|---|---|")
    extra_seconds = 0.0
    for model, shapes in SHAPES.items():
        for heads, side, width, layers in shapes:
            row = _measure_attention(heads, side, width, args)
            extra_seconds += layers * row["extra"] if model.startswith("SD1.5") else 0
            memory = f"{row['ours_memory']:.1f}, {row['naive_memory']:.1f}"
            print(
                f"| {model} | {heads} × {side * side} × {width} | {row['ours']:.2f} | {row['naive']:.2f} "
                f"| {memory} | {row['ours_memory'] / row['naive_memory']:.0%} |"
            )
    return extra_seconds


def _joint_attention(args: argparse.Namespace) -> None:
    """A table."""
    print(
        "\n| model | heads × (cells + text) × d_head | features / plain | mask / plain | memory features, mask (MiB) |"
    )
    print("|---|---|---|---|---|")
    for model, (heads, side, text, width) in JOINT_SHAPES.items():
        row = _measure_joint(heads, side, text, width, args)
        print(
            f"| {model} | {heads} × ({side * side} + {text}) × {width} | {row['ours']:.2f} | {row['naive']:.2f} "
            f"| {row['ours_memory']:.1f}, {row['naive_memory']:.1f} |"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="rounds per attention shape")
    parser.add_argument("--forwards", type=int, default=5, help="UNet forwards of each kind; 0 leaves them out")
    parser.add_argument("--only", choices=("cross", "joint"), help="one of the two kinds of attention")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.processor()


def two_subject_guidance() -> LayoutBias:
    """Two boxes side by side, for tokens 2 and 5."""
    layout = layout_from_boxes([Box(0, 0.2, 0.45, 0.6), Box(0.55, 0.2, 0.45, 0.6)], ["mug", "dog"], 96, 96, "fractions")
    return LayoutBias(weight_maps(layout, [[(2,)], [(5,)]]))


def naive_attention(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, rows: list[int], strength: float) -> Tensor:
    """The published form: scores, their standard deviation, a dense weight map, softmax, values."""
    dense = torch.zeros(q.shape[-2], k.shape[-2], device=q.device)
    dense[:, rows] = weights
    scores = q @ k.mT
    term = strength * dense * torch.log(torch.tensor(1 + SIGMA**2)) * scores.std()
    return ((scores + term) * q.shape[-1] ** -0.5).softmax(-1) @ v


def _measure_attention(heads: int, side: int, width: int, args: argparse.Namespace) -> dict[str, float]:
    q = torch.randn(1, heads, side * side, width, device=args.device)
    k, v = (torch.randn(1, heads, TOKENS, width, device=args.device) for _ in range(2))
    guidance = two_subject_guidance()
    weights = guidance.maps.at(side, side, q.device)
    rows = list(guidance.maps.token_indices)

    def ours() -> Tensor:
        return guided_attention(q, k, v, guidance.bias(q, k, (side, side), log_growth(SIGMA)))

    def naive() -> Tensor:
        return naive_attention(q, k, v, weights, rows, guidance.guidance_weight)

    def plain() -> Tensor:
        return guided_attention(q, k, v, None)

    times = _interleaved([plain, ours, naive], args.rounds, repeats=max(1, 4096 // (side * side)), device=args.device)
    plain_memory = _peak_memory(plain)
    return {
        "ours": statistics.median(b / a for a, b in zip(times[0], times[1], strict=True)),
        "naive": statistics.median(b / a for a, b in zip(times[0], times[2], strict=True)),
        "extra": statistics.median(b - a for a, b in zip(times[0], times[1], strict=True)),
        "ours_memory": (_peak_memory(ours) - plain_memory) / 2**20,
        "naive_memory": (_peak_memory(naive) - plain_memory) / 2**20,
    }


def _measure_joint(heads: int, side: int, text: int, width: int, args: argparse.Namespace) -> dict[str, float]:
    """Attention over text and picture in one sequence: the term as features, and as a mask of all pairs."""
    q, k, v = torch.randn(3, 1, heads, text + side * side, width, device=args.device)
    guidance, scale = two_subject_guidance(), width**-0.5

    def gains() -> Gains:
        return guidance.gains(q[:, :, text:], k[:, :, :text], (side, side), log_growth(SIGMA))

    def features() -> Tensor:
        extended = with_features(q, k, v, [Placed(gains(), slice(0, 1), text, 0)])
        return F.scaled_dot_product_attention(*extended, scale=scale)[..., :width]

    def mask() -> Tensor:
        pairs = torch.zeros(1, 1, q.shape[2], q.shape[2], device=q.device)
        pairs[..., text:, :text] = gains().mask(text, scale, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=pairs)

    def plain() -> Tensor:
        return guided_attention(q, k, v, None)

    times = _interleaved([plain, features, mask], args.rounds, repeats=1, device=args.device)
    plain_memory = _peak_memory(plain)
    return {
        "ours": statistics.median(b / a for a, b in zip(times[0], times[1], strict=True)),
        "naive": statistics.median(b / a for a, b in zip(times[0], times[2], strict=True)),
        "ours_memory": (_peak_memory(features) - plain_memory) / 2**20,
        "naive_memory": (_peak_memory(mask) - plain_memory) / 2**20,
    }


def _interleaved(calls: list[Callable[[], Any]], rounds: int, repeats: int, device: str) -> list[list[float]]:
    """Seconds per call, round by round; the order turns so that drift of the machine hits all alike."""
    times: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for number in range(-1, rounds):  # the first round warms up
            for offset in range(len(calls)):
                index = (number + offset) % len(calls)
                start = time.perf_counter()
                for _ in range(repeats):
                    calls[index]()
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                if number >= 0:
                    times[index].append((time.perf_counter() - start) / repeats)
    return times


def _peak_memory(call: Callable[[], Any]) -> int:
    with torch.inference_mode(False), torch.no_grad(), LiveBytes() as bytes_seen:
        call()
    return bytes_seen.peak


def _measure_forward(args: argparse.Namespace, extra_seconds: float) -> None:
    from diffusers import UNet2DConditionModel

    from cones2.diffusers_models.attention import ForwardState, guided_unet

    unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
    unet = unet.to(args.device).eval().requires_grad_(False)
    latents = torch.randn(2, 4, 64, 64, device=args.device)
    text = torch.randn(2, TOKENS, 768, device=args.device)
    guidance = two_subject_guidance()
    with guided_unet(unet, ForwardState(growth=log_growth(SIGMA), positive=slice(1, None))) as state:

        def run(active: Sequence[LayoutBias]) -> Tensor:
            state.terms = active
            return unet(latents, torch.tensor(500.0), encoder_hidden_states=text).sample

        plain, guided = _interleaved([lambda: run(()), lambda: run((guidance,))], args.forwards, 1, args.device)
    measured = statistics.median(b / a for a, b in zip(plain, guided, strict=True))
    seconds = statistics.median(plain)
    print(
        f"\nOne SD1.5 UNet forward, cond + uncond batched, 512 px: {seconds:.2f} s plain; "
        f"guided {measured:.3f}× measured, {1 + 2 * extra_seconds / seconds:.3f}× computed from the attention calls' "
        "extra time (both batch entries masked)."
    )


if __name__ == "__main__":
    main()
