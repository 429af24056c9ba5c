"""What ships beside the code."""

from __future__ import annotations

import re
from pathlib import Path

TOYWORLD = Path(__file__).parent / "toyworld"
"""The toy model in diffusers' layout, with its card, detector, residuals and the pictures of its custom subjects."""

DEMO = "demo"
"""What users call the toy model, and the folder in which they find its residuals."""

DEMO_RESIDUALS = TOYWORLD / "residuals"

DEMO_DELTAS = Path(__file__).parent / "deltas"
"""Two of the toy world's custom subjects as deltas of Custom Diffusion, compressed."""

_COLORED = re.compile("[a-z]+_(?!with)[a-z]+_[a-z]+")  # such as blue_white_dog; not dog_with_badge


def demo_residual(name: str) -> Path | None:
    """The toy model's residual of that name: "demo/blue_white_dog", with its ending or without, or "demo/dog".

    The last word alone is the subject of that class whose look words can say. None for any other name.
    """
    folder, _, wanted = name.replace("\\", "/").rpartition("/")
    files = sorted(DEMO_RESIDUALS.glob("*.safetensors")) if folder == DEMO else []
    named = [path for path in files if wanted in (path.name, path.stem)]
    of_class = [path for path in files if _COLORED.fullmatch(path.stem) and path.stem.endswith(f"_{wanted}")]
    return next(iter(named + of_class), None)
