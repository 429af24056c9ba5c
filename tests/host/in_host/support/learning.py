"""Training on synthetic checkpoints with real photos, and what it may not change, for the drivers that train."""

import shutil
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import folder_paths
import hostkit
import numpy as np
import scenes
import torch
from PIL import Image
from torch import Tensor

PHOTOS = Path(__file__).resolve().parents[3] / "photos"
QUICK = {"resolution": 64, "steps": 3, "batch_size": 2, "accumulation": 1, "preview_every": 0}
RATES = {"direct": 0.05, "paper": 1e-5}
FEW_SCENES = {"scenes": 4, "class_pictures": 2, "partners": "mug"}
HELD_OUT = 2  # pairs that a run is judged on: the recipe's 32 would take most of the time, and no input sets them


def photos(kind: str = "dog") -> Tensor:
    """IMAGE batch [3, 192, 192, 3] of real photos, as the host's loader gives them: an inference tensor."""
    pictures = [Image.open(path).convert("RGB").resize((192, 192)) for path in sorted((PHOTOS / kind).glob("*.jpg"))]
    with torch.inference_mode():
        return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures[:3]])).float() / 255


def runs_folder() -> Path:
    return Path(folder_paths.get_output_directory()) / "cones2_training"


def train(
    name: str, method: str = "direct", images: list[Tensor] | None = None, parts: Any = None, **changes: Any
) -> tuple:
    """The node's outputs; every input is a list, as the host hands it to nodes that take lists."""
    model, clip, vae = parts or hostkit.checkpoint(name)
    values = {**QUICK, "learning_rate": RATES[method], "subject": "dog", "recipe": "photos", **changes}
    values |= {"model": model, "clip": clip, "vae": vae, "method": method}
    widgets = {**hostkit.defaults(hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]), **values}
    lists = {key: value if isinstance(value, list) else [value] for key, value in widgets.items()}
    node = scenes.module("nodes.host.train")
    few: dict[str, Any] = {"held_out": HELD_OUT if method == "direct" else 0}
    if values["recipe"] == "scenes":
        few |= FEW_SCENES
    with mock.patch.object(node, "recipe_config", partial(node.recipe_config, **few)):
        if "photos" in changes or "folder" in changes:
            return hostkit.run_node("Cones2TrainResidual", **{**lists, "photos": changes.get("photos")})
        return hostkit.run_node("Cones2TrainResidual", images=images or [photos()], **lists)


def train_anew(*args: Any, **changes: Any) -> tuple:
    """As `train`, without what earlier runs left."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    return train(*args, **changes)


def with_lora(part: Any, weights: str = "attn2.to_k.weight") -> Any:
    """A clone of a MODEL or CLIP with a patch on some attention weights."""
    clone = part.clone()
    generator = torch.Generator().manual_seed(5)
    for key, weight in list(getattr(clone, "patcher", clone).model.named_parameters()):
        if key.endswith(weights):
            change = torch.randn(weight.shape, generator=generator) * float(weight.float().std()) * 0.3
            assert clone.add_patches({key: (change,)}, 0.7)
    return clone


def bits(tensor: Tensor) -> int:
    """Checksum of a tensor's bytes: equal NaNs are equal too (a weight no checkpoint fills may hold them)."""
    return zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def state(patcher: Any) -> dict:
    """All that may not change in a patcher and its model: weights, patches, options, forward functions.

    Not the identity of the weights: the host wraps them anew whenever it unloads a model.
    """
    tensors = [*patcher.model.named_parameters(), *patcher.model.named_buffers()]
    return {
        "weights": {
            name: (bits(tensor), str(tensor.dtype), str(tensor.device), tensor.requires_grad, tensor.grad is None)
            for name, tensor in tensors
        },
        "patches": (str(patcher.patches_uuid), sorted(patcher.patches), sorted(patcher.object_patches)),
        "options": repr(patcher.model_options),
        "forwards": [name for name, part in patcher.model.named_modules() if "forward" in vars(part)],
        "training": [name for name, part in patcher.model.named_modules() if part.training],
    }


def changed(parts: Any, before: list[dict]) -> list[str]:
    """What differs in MODEL, CLIP and VAE from an earlier state."""
    found = []
    for kind, old, new in zip(("model", "clip", "vae"), before, map(state, patchers(parts)), strict=True):
        found += [f"{kind}: {key}" for key in old if key != "weights" and old[key] != new[key]]
        found += [f"{kind}: {name}" for name in old["weights"] if old["weights"][name] != new["weights"].get(name)]
    return found


def patchers(parts: Any) -> tuple[Any, Any, Any]:
    model, clip, vae = parts
    return model, clip.patcher, vae.patcher


@contextmanager
def counted_runs():
    """How often training really ran inside the block: a list of the steps done."""
    loop = scenes.module("cones2.training.loop")
    original, steps = loop.Trainer._finish_step, []

    def counting(self: Any, *args: Any) -> None:
        original(self, *args)
        steps.append(self.step)

    with mock.patch.object(loop.Trainer, "_finish_step", counting):
        yield steps


def endings() -> list[str]:
    """What the files of runs end with."""
    return sorted(path.name.partition(".")[2] for path in runs_folder().glob("*"))
