"""What ships beside the code."""

from __future__ import annotations

from pathlib import Path

TOYWORLD = Path(__file__).parent / "toyworld"
"""The toy model in diffusers' layout, with its card, detector, residuals and the pictures of its custom subjects."""

DEMO = "demo"
"""What users call the toy model, and the folder in which they find its residuals."""

DEMO_RESIDUALS = TOYWORLD / "residuals"


def demo_residual(name: str) -> Path | None:
    """The toy model's residual of that name: "demo/dog", "demo/blue_white_dog", the latter with its ending or without.

    None for any other name.
    """
    folder, _, wanted = name.replace("\\", "/").rpartition("/")
    for path in sorted(DEMO_RESIDUALS.glob("*.safetensors")) if folder == DEMO else ():
        if wanted in (path.name, path.stem, path.stem.rpartition("_")[2]):
            return path
    return None
