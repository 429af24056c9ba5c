"""Driver for the toy world's transformer: what the host's own class computes with its weights."""

from pathlib import Path
from typing import Any

import comfy.ops
import hostkit  # noqa: F401 - the host's options come first
import torch
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel
from safetensors.torch import load_file, save_file


def computed(folder: str, network: dict[str, Any]) -> None:
    """Velocities for 0, 1 and 2 references of case.safetensors, as host.safetensors."""
    model = QwenImageTransformer2DModel(
        **network, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init
    )
    model.load_state_dict(load_file(Path(folder, "diffusion_pytorch_model.safetensors")))
    case = load_file(Path(folder, "case.safetensors"))
    references = [case[f"reference{number}"][:, :, None] for number in range(2)]
    found = {}
    with torch.inference_mode():
        for count in range(3):
            told = references[:count] or None
            guess = model(case["latents"][:, :, None], case["level"], case["context"], ref_latents=told)
            found[f"velocity{count}"] = guess[:, :, 0].contiguous()
    save_file(found, Path(folder, "host.safetensors"))
