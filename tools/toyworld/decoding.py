"""What of an object survives the autoencoder, by its side: `python -m tools.toyworld.decoding --vae DIR`."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from cones2.assets import TOYWORLD
from cones2.evaluation.scores import Share
from cones2.evaluation.toyworld.detector import Found, detect, load_detector
from cones2.evaluation.toyworld.world import Look, Scene, random_scene, render

from .softness import through
from .vae import reconstruction_psnr

SIDES = ((15, 18), (18, 22), (22, 30), (30, 42))  # pixels


def by_side(scenes: list[Scene], found: list[dict[str, Found]]) -> Iterable[dict[str, object]]:
    """For each range of sides: how many objects are found, and how many of all with their exact look."""
    for low, high in SIDES:
        things = [
            (t.look, f.get(t.look.kind))
            for s, f in zip(scenes, found, strict=True)
            for t in s.things
            if low <= t.side < high
        ]
        yield {
            "sides": [low, high],
            "objects": len(things),
            "found": str(Share(sum(seen is not None for _, seen in things), len(things))),
            "exact": _exact(things),
            "with_badge_exact": _exact([(look, seen) for look, seen in things if look.badge]),
            "dotted_exact": _exact([(look, seen) for look, seen in things if look.dots]),
        }


def _exact(things: list[tuple[Look, Found | None]]) -> str:
    return str(Share(sum(seen is not None and seen.look == look for look, seen in things), len(things)))


def main() -> None:
    """Print clean and decoded, a JSON line per range of sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=TOYWORLD / "vae")
    parser.add_argument("--judge", type=Path, default=TOYWORLD / "detector.safetensors")
    parser.add_argument("--count", type=int, default=400, help="scenes")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(options.vae, torch_dtype=torch.float32).eval()
    judge = load_detector(options.judge)
    rng = random.Random(options.seed)
    scenes = [random_scene(rng) for _ in range(options.count)]
    clean, _ = render(scenes)
    print(f"{reconstruction_psnr(vae):.1f} dB")
    for name, pictures in (("clean", clean), ("decoded", through(vae, clean))):
        for row in by_side(scenes, detect(judge, pictures)):
            print(json.dumps({"pictures": name, **row}), flush=True)


if __name__ == "__main__":
    main()
