"""Drivers for training: residuals from real photos on synthetic checkpoints, and what is left behind."""

from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import hostkit
import numpy as np
import scenes
import torch
from PIL import Image
from torch import Tensor

PHOTOS = Path(__file__).resolve().parents[2] / "photos"
QUICK = {"resolution": 64, "steps": 3, "batch_size": 2, "accumulation": 1, "preview_every": 2}
CHANNELS = {"sd1": 768, "sd2": 1024, "sdxl": 2048}


def photos(kind: str = "dog") -> Tensor:
    """IMAGE batch [3, 192, 192, 3] of real photos, as the host's loader gives them: an inference tensor."""
    pictures = [Image.open(path).convert("RGB").resize((192, 192)) for path in sorted((PHOTOS / kind).glob("*.jpg"))]
    with torch.inference_mode():
        return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures[:3]])).float() / 255


def train(name: str, method: str = "direct", images: list[Tensor] | None = None, **changes: Any) -> tuple:
    """The node's outputs; every input is a list, as the host hands it to nodes that take lists."""
    model, clip, vae = hostkit.checkpoint(name)
    values = {**QUICK, "learning_rate": 0.05 if method == "direct" else 1e-5, "subject": "dog", **changes}
    values |= {"model": model, "clip": clip, "vae": vae, "method": method}
    widgets = {**hostkit.defaults(hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]), **values}
    lists = {key: value if isinstance(value, list) else [value] for key, value in widgets.items()}
    return hostkit.run_node("Cones2TrainResidual", images=images or [photos()], **lists)


def weights(name: str) -> dict[str, Tensor]:
    """Copies of every weight of the UNet and the text encoder, by name and identity."""
    model, clip, _ = hostkit.checkpoint(name)
    parts = {"unet": model.model.diffusion_model, "text": clip.cond_stage_model}
    return {
        f"{part}.{key}": (value, value.clone())
        for part, module in parts.items()
        for key, value in module.named_parameters()
    }


def trains(name: str, method: str, checkpointing: bool = False) -> dict:
    """Shape and size of what is learned; whether the models are the same objects with the same bits afterwards."""
    model, clip, _ = hostkit.checkpoint(name)
    comfy.model_management.load_models_gpu([model, clip.patcher])
    before = weights(name)
    forwards = [part.forward.__func__ for part in model.model.diffusion_model.modules()]
    (residual,), losses, curve = train(name, method, gradient_checkpointing=checkpointing)
    after = weights(name)
    return {
        "shape": list(residual.tensor.shape),
        "moved": float(residual.tensor.norm()) > 0,
        "finite": all(np.isfinite(losses["loss"])),
        "losses": losses["loss"],
        "curve": list(curve.shape),
        # not the same objects: the host makes new ones whenever it unloads a model
        "untouched": all(
            after[key][0].is_inference() == value.is_inference() and hostkit.identical(after[key][1], copy)
            for key, (value, copy) in before.items()
        ),
        "forwards": forwards == [part.forward.__func__ for part in model.model.diffusion_model.modules()],
        "gradients": [key for key, (value, _) in after.items() if value.requires_grad and value.grad is not None],
        "metadata": residual.metadata["method"],
    }


def samples_alike(name: str) -> bool:
    """A picture before and after training has the same bits."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = hostkit.encode(clip, "a dog"), hostkit.encode(clip, "")
    before = hostkit.ksampler(model, positive, negative, hostkit.empty_latent())
    train(name)
    return hostkit.identical(before, hostkit.ksampler(model, positive, negative, hostkit.empty_latent()))


def prediction(name: str) -> dict:
    """The training view's prediction against the host's own apply_model at one noise level."""
    trainable = scenes.module("nodes.trainable")
    conditioning_type = scenes.module("cones2.training.model").Conditioning
    model, clip, vae = hostkit.checkpoint(name)
    with torch.inference_mode(False), trainable.trainable_model(model, clip, vae, "direct", False) as seen:
        rows, pooled = seen.encode_text(["a dog"])
        timestep, latents = torch.tensor([400]), scenes.noise(seed=4).clone()
        sampling = model.get_model_object("model_sampling")
        sigma = sampling.sigmas[timestep].clone()
        size = torch.tensor([[96.0, 128, 0, 0, 96, 128]])
        with torch.no_grad():
            output = seen.predict(latents, timestep, conditioning_type(rows, pooled), size)
    raw = latents * (sigma**2 + 1) ** 0.5
    with torch.inference_mode():
        vector = model.model.encode_adm(pooled_output=pooled, width=128, height=96) if pooled is not None else None
        denoised = model.model.apply_model(raw, sigma, c_crossattn=rows, **({} if vector is None else {"y": vector}))
        wanted = sampling.calculate_denoised(sigma, output.float(), raw)
    return {"error": hostkit.relative_error(wanted, denoised), "type": seen.prediction_type}


def interrupted() -> dict:
    """An interrupt after the first step: the checkpoint waits, and the same inputs continue from it."""
    name = "sd15_short"
    whole = train(name, steps=4)[1]["loss"]
    loop = scenes.module("cones2.training.loop")
    original = loop.Trainer._finish_step

    def stopping(self: Any, *args: Any) -> None:
        original(self, *args)
        if self.step == 2:
            comfy.model_management.interrupt_current_processing(True)

    loop.Trainer._finish_step = stopping
    try:
        train(name, steps=4)
        raised = False
    except comfy.model_management.InterruptProcessingException:
        raised = True
    finally:
        loop.Trainer._finish_step = original
        comfy.model_management.interrupt_current_processing(False)
    folder = Path(folder_paths.get_output_directory()) / "cones2_training"
    waiting = len(list(folder.glob("*.checkpoint.pt")))
    again = train(name, steps=4)[1]["loss"]
    return {"raised": raised, "waiting": waiting, "same": again == whole, "left": len(list(folder.glob("*")))}


def saved() -> list[str]:
    """File names after training twice under one name."""
    for _ in range(2):
        train("sd15_short", steps=1, save_name="pets/rex", preview_every=0)
    root = Path(folder_paths.get_folder_paths("residuals")[0])
    return sorted(str(path.relative_to(root)) for path in root.glob("pets/*"))


def lists_and_masks() -> dict:
    """A dataset loader's list of images of different sizes, with one mask each."""
    images = [photos()[:1], photos()[1:2, :128]]
    masks = [torch.ones(1, 192, 192), torch.ones(1, 128, 192)]
    masks[0][:, :, 96:] = 0
    whole = train("sd15_short", images=images)[1]["loss"]
    inside = train("sd15_short", images=images, masks=masks)[1]["loss"]
    return {"whole": whole, "inside": inside}


def refusals() -> dict[str, str]:
    """Messages for inputs that cannot work."""
    attempts = {
        "subject": {"subject": " "},
        "rate": {"method": "paper", "learning_rate": 0.05},
        "masks": {"masks": [torch.ones(2, 8, 8), torch.ones(2, 8, 8)]},
        "name": {"save_name": "../outside"},
        "empty mask": {"masks": [torch.zeros(1, 192, 192)]},
    }
    found = {}
    for key, changes in attempts.items():
        try:
            train("sd15_short", **changes)
        except ValueError as error:
            found[key] = str(error)
    return found
