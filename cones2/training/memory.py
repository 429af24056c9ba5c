"""Whether a run fits into memory: measured on small latents, scaled to the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..prompt.conditioning import Conditioning
from .config import TrainingConfig
from .model import TrainingModel

_OVERHEAD = 1.15  # temporaries of the forward pass and allocator rounding
_OPTIMIZER_COPIES = 3  # gradient and Adam's two moments, in the weights' float32


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes a run needs on top of the loaded model.

    activations: what the UNet keeps for the backward pass of one micro-batch.
    trainable: gradients and optimizer state.
    captions: the frozen conditioning.
    """

    activations: int
    trainable: int
    captions: int

    @property
    def total(self) -> int:
        """All of it, with the overhead of temporaries."""
        return int((self.activations * _OVERHEAD) + self.trainable + self.captions)


def estimate_memory(
    model: TrainingModel, config: TrainingConfig, captions: Conditioning, latent: Tensor
) -> MemoryEstimate:
    """What training on latents [C, h, w] as large as this one takes.

    With gradient checkpointing the activations count what is kept between the blocks; recomputing
    one block comes on top.
    """
    trainable = sum(weight.numel() for weight in model.text_weights.values()) if config.method == "paper" else 0
    return MemoryEstimate(
        activations=config.batch_size * activation_bytes(model, captions.select([0]), latent),
        trainable=4 * _OPTIMIZER_COPIES * trainable,
        captions=captions.embeds.numel() * 4,
    )


def activation_bytes(model: TrainingModel, conditioning: Conditioning, latent: Tensor) -> int:
    """Bytes of tensors one sample's forward pass saves for the gradient of the conditioning.

    Three small forward passes give a polynomial of second degree in the number of latent cells
    (the square is attention that keeps its scores); its constant part, the weights, is left out.
    """
    channels, height, width = latent.shape
    side = max(1, model.size_multiple // model.vae_scale_factor)
    areas, sizes = [], []
    for rows, columns in ((side, side), (side, 2 * side), (2 * side, 2 * side)):
        areas.append(float(rows * columns))
        sizes.append(float(_saved_bytes(model, conditioning, (channels, rows, columns))))
    powers = torch.tensor([[1.0, area, area * area] for area in areas], dtype=torch.float64)
    _, linear, square = torch.linalg.solve(powers, torch.tensor(sizes, dtype=torch.float64)).tolist()
    area = height * width
    if square < 0:
        linear, square = (sizes[2] - sizes[0]) / (areas[2] - areas[0]), 0.0
    return int(linear * area + square * area * area)


def check_memory(estimate: MemoryEstimate, device: torch.device, method: str) -> None:
    """Raise ModelError when the device has too little free memory; unknown amounts pass."""
    free = free_memory(device)
    if free is None or estimate.total <= free:
        return
    advice = (
        "use the direct method, " if method == "paper" else ""
    ) + "lower the resolution or the batch size, or turn gradient checkpointing on"
    raise ModelError(
        f"training needs about {_gigabytes(estimate.total)} GB more on {device} "
        f"(activations {_gigabytes(estimate.activations)}, optimizer {_gigabytes(estimate.trainable)}) "
        f"but {_gigabytes(free)} GB are free: {advice}"
    )


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a CUDA device or of the machine; None where that is unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type == "cpu" and Path("/proc/meminfo").is_file():
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _saved_bytes(model: TrainingModel, conditioning: Conditioning, cells: Sequence[int]) -> int:
    storages: dict[int, Any] = {}  # kept alive, so that no address serves two of them

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    latents = torch.zeros((1, *cells), device=model.device)
    embeds = conditioning.embeds.detach().clone().requires_grad_(True)
    sizes = torch.zeros((1, 6), device=model.device)
    timesteps = torch.zeros(1, dtype=torch.long, device=model.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.predict(latents, timesteps, Conditioning(embeds, conditioning.pooled), sizes)
    return sum(storage.nbytes() for storage in storages.values())


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f}"
