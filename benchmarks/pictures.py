"""What subjects' pictures cost: plain text attention, ours and the published form, in one interleaved run.

    python benchmarks/pictures.py [--rounds 9] [--subjects 1,2,4] [--tokens 4] [--device cpu] [--threads 2]

Prints a Markdown table per cross-attention shape of SDXL at 1024 px: medians of the ratio to the plain call taken round
by round, the peak of extra memory, and what a step (cond and uncond, all 70 layers) takes more. "published" forms a
table over all 77 rows of each name for every step; ours keeps keys of the name's own rows from the run's first step on.
"""

from __future__ import annotations

import argparse
import statistics

import torch
import torch.nn.functional as F
from guidance import SHAPES, TOKENS, _interleaved, _machine, _peak_memory
from torch import Tensor

from cones2.guidance.cross_attention import guided_attention
from cones2.picture_adapter.attention import even_weights, name_weights, picture_part, unconditional_part
from cones2.picture_adapter.references import LayerPictures

_NAME_ROWS = 2
_TEXT_WIDTH = 2048
_SCALE = 0.75


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {_machine(args.device)}, {args.threads} threads, float32, medians\n")
    print("| heads × positions × d_head | subjects | ours / plain | published / plain | memory ours, published (MiB) |")
    print("|---|---|---|---|---|")
    more = {count: 0.0 for count in args.subjects}
    for heads, side, width, layers in SHAPES["SDXL, 1024 px"]:
        for count in args.subjects:
            row = _measure(heads, side, width, count, args)
            more[count] += layers * row["extra"]
            print(
                f"| {heads} × {side * side} × {width} | {count} | {row['ours']:.2f} | {row['published']:.2f} "
                f"| {row['ours_memory']:.1f}, {row['published_memory']:.1f} |"
            )
    for count, seconds in more.items():
        print(f"\nA step with {count} subjects takes {seconds:.2f} s more (computed from the calls above).")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9, help="rounds per attention shape")
    parser.add_argument("--subjects", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--tokens", type=int, default=4, help="image tokens per subject: 4, or 16 of plus adapters")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _measure(heads: int, side: int, width: int, count: int, args: argparse.Namespace) -> dict[str, float]:
    """One layer on a negative prompt and a prompt."""
    channels, positions = heads * width, side * side
    q = torch.randn(2, heads, positions, width, device=args.device)
    k, v = (torch.randn(2, heads, TOKENS, width, device=args.device) for _ in range(2))
    keys, values = (torch.randn(count + 1, args.tokens, channels, device=args.device) for _ in range(2))
    layer = LayerPictures(keys, values, torch.randn(channels, device=args.device))
    names = [torch.randn(TOKENS, _TEXT_WIDTH, device=args.device) for _ in range(count)]
    to_k = torch.randn(channels, _TEXT_WIDTH, device=args.device) * _TEXT_WIDTH**-0.5
    own = [F.linear(rows[1 : 1 + _NAME_ROWS], to_k) for rows in names]
    strengths = [1.0] * count

    def plain() -> Tensor:
        return guided_attention(q, k, v, None).transpose(1, 2).flatten(2)

    def ours() -> Tensor:
        h = plain()
        even = even_weights(count, None, positions, h.device)
        negative = unconditional_part(q[:1], h[:1], layer, even, strengths, _SCALE)
        return h + torch.cat([negative, picture_part(q[1:], h[1:], layer, name_weights(q[1:], own), strengths, _SCALE)])

    def published() -> Tensor:
        return _published(q, plain(), layer, names, to_k)

    times = _interleaved([plain, ours, published], args.rounds, 1, args.device)
    base = _peak_memory(plain)
    return {
        "ours": statistics.median(b / a for a, b in zip(times[0], times[1], strict=True)),
        "published": statistics.median(b / a for a, b in zip(times[0], times[2], strict=True)),
        "extra": statistics.median(b - a for a, b in zip(times[0], times[1], strict=True)),
        "ours_memory": (_peak_memory(ours) - base) / 2**20,
        "published_memory": (_peak_memory(published) - base) / 2**20,
    }


def _published(q: Tensor, h: Tensor, layer: LayerPictures, names: list[Tensor], to_k: Tensor) -> Tensor:
    """The formula as published, on both halves: tables over 77 rows and all positions for each subject."""
    heads, maps, attended = q.shape[1], [], []
    for number, rows in enumerate(names):
        keys = _split(F.linear(rows, to_k), heads)
        table = (keys @ q.mT * q.shape[-1] ** -0.5).softmax(-1)
        maps.append(table.mean(1)[:, 1 : 1 + _NAME_ROWS].mean(1))
        k, v = (_split(part[number], heads).expand(2, -1, -1, -1) for part in (layer.keys, layer.values))
        attended.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    weights = torch.stack(maps, 1)
    weights = weights / weights.sum(1, keepdim=True)
    assert layer.text_to_weight is not None
    gate = (h @ layer.text_to_weight).sigmoid()
    total = (weights[..., None] * torch.stack(attended, 1)).sum(1)
    return h + _SCALE * (gate / gate.mean(-1, keepdim=True))[..., None] * total


def _split(rows: Tensor, heads: int) -> Tensor:
    return rows.view(len(rows), heads, -1).transpose(0, 1)


if __name__ == "__main__":
    main()
