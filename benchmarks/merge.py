"""How long a constrained merge and a compression take: `python benchmarks/merge.py [sd1|sdxl]`, on random weights."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout needs no installation

from cones2.custom_diffusion.compress import compress  # noqa: E402
from cones2.custom_diffusion.delta import Delta, make_delta, whole_weights  # noqa: E402
from cones2.custom_diffusion.merge import merge_rows  # noqa: E402

SHAPES: dict[
    str, tuple[int, list[tuple[str, tuple[int, ...], int]], tuple[int, ...], tuple[int, ...], tuple[int, int]]
] = {
    # (blocks, layers per block, transformer blocks per layer, channels) of the sides down and up; then the middle's
    "sd1": (768, [("down", (0, 1, 2), 2), ("up", (1, 2, 3), 3)], (320, 640, 1280), (1, 1, 1), (1280, 1)),
    "sdxl": (2048, [("down", (1, 2), 2), ("up", (0, 1), 3)], (320, 640, 1280), (0, 2, 10), (1280, 10)),
}
CAPTION_ROWS, TARGET_ROWS = 1438, 8


def base_weights(family: str) -> dict[str, Tensor]:
    """Random keys and values in the shapes of a family's UNet."""
    width, sides, channels, depths, (middle, middle_depth) = SHAPES[family]
    layers = [("mid_block.attentions.0", middle, middle_depth)]
    for side, blocks, count in sides:
        for block in blocks:
            level = block if side == "down" else len(channels) - 1 - (block - (family == "sd1"))
            names = [f"{side}_blocks.{block}.attentions.{layer}" for layer in range(count)]
            layers += [(name, channels[level], depths[level]) for name in names]
    return {
        f"{name}.transformer_blocks.{inner}.attn2.{part}.weight": torch.randn(out, width) * width**-0.5
        for name, out, depth in layers
        for inner in range(depth)
        for part in ("to_k", "to_v")
    }


def concept(base: dict[str, Tensor], seed: int) -> Delta:
    """A delta that moves every weight a little."""
    generator = torch.Generator().manual_seed(seed)
    moved = {name: weight + 1e-2 * torch.randn(weight.shape, generator=generator) for name, weight in base.items()}
    return make_delta(whole_weights(moved))


def main() -> None:
    """Print seconds, sizes and the constraint error."""
    family = sys.argv[1] if len(sys.argv) > 1 else "sd1"
    base = base_weights(family)
    width = SHAPES[family][0]
    deltas = [concept(base, seed) for seed in (1, 2)]
    kept, targets = torch.randn(CAPTION_ROWS, width), torch.randn(2, TARGET_ROWS, width)
    print(f"{family}: {len(base)} matrices, {sum(weight.numel() for weight in base.values()) / 1e6:.1f} M numbers")
    started = time.perf_counter()
    result = merge_rows(deltas, base, kept, list(targets))
    print(f"merge of 2: {time.perf_counter() - started:.1f} s, constraint error {result.constraint_error:.1e}")
    started = time.perf_counter()
    small = compress(deltas[0], base)
    print(f"compression: {time.perf_counter() - started:.1f} s, {small.numbers / 1e6:.1f} M numbers")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


if __name__ == "__main__":
    main()
