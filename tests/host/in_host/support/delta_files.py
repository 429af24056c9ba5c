"""Files of Custom Diffusion for a checkpoint, loaded and applied by the nodes."""

from pathlib import Path
from typing import Any

import folder_paths
import hostkit
import torch


def delta_folder() -> Path:
    return Path(folder_paths.get_folder_paths("custom_diffusion")[0])


def saved_delta(model: Any, name: str, seed: int, width: int = 768) -> str:
    """A delta.bin in models/custom_diffusion that changes all keys and values: the name that the node lists."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, weight in model.model.state_dict().items():
        if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            change = torch.randn(weight.shape, generator=generator) * weight.float().std()
            weights[f"model.{key}"] = weight.float() + change
    row = torch.randn(width, generator=generator) * 0.05
    folder = delta_folder()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {**weights, "embed": row[None]}}, folder / name)
    return name


def load(name: str, words: str = "dog") -> Any:
    return hostkit.run_node("Cones2LoadCustomDiffusion", file=name, class_words=words)[0]


def apply(model: Any, clip: Any, delta: Any, strength: float = 1.0, token_strength: float = 1.0, **more: Any) -> Any:
    """MODEL, CLIP and tokens of Cones2ApplyCustomDiffusion."""
    return hostkit.run_node(
        "Cones2ApplyCustomDiffusion",
        model=model, clip=clip, delta=delta, strength=strength, token_strength=token_strength, **more,
    )  # fmt: skip
