"""Drivers for learning residuals with diffusion transformers of random weights."""

from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import hostkit
import scenes
import torch
from learning import photos, state, train_anew
from learning_transformers import LearningClip, learning_parts, planted_run, training
from tiny_transformers import FAMILIES, parts, z_image_clip


def planted(name: str, steps: int) -> dict:
    """How the loss falls, and how near what was learned is to the residual that the targets come from, as far as the
    model sees it."""
    family = FAMILIES[name]
    with training(name) as model:
        method, history, true = planted_run(model, family, steps)
        losses = [record["loss"] for record in history]
        learned = method.residual()
    if name == "SD3.5":  # of 4096 columns the tiny model reads 128 mixtures: the rest cannot be known
        seen = parts(name)[0].model.diffusion_model.context_embedder.weight.detach().T
        learned, true = learned @ seen, true @ seen
    return {
        "first": sum(losses[:5]) / 5,
        "last": sum(losses[-5:]) / 5,
        "cosine": float(torch.cosine_similarity(learned.flatten(), true.flatten(), 0)),
        "training": comfy.model_management.in_training,
    }


def gradient(name: str, checkpointing: bool = False) -> dict:
    """How long the gradient of a residual is, and the difference quotient along it; prompts of two lengths."""
    with training(name, checkpointing) as model:
        method = scenes.module("cones2.training.methods").DirectMethod(
            model, scenes.module("cones2.training.config").recipe_config("photos", "dog", held_out=0)
        )
        generator = torch.Generator().manual_seed(2)
        draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
        x, timesteps = draw(2, 16, 8, 8), torch.tensor([300, 800]) * model.noise.train_steps // 1000
        shape = method.token_num, model.width
        start, weights = draw(*shape) * 0.1, draw(2, 16, 8, 8).double()

        def loss(vectors: torch.Tensor) -> torch.Tensor:
            told = method.with_residual(vectors, [0, 4])
            return (model.predict(x, timesteps, told, None).double() * weights).sum()

        vectors = start.clone().requires_grad_(True)
        loss(vectors).backward()
        direction = 0.01 * vectors.grad / vectors.grad.norm()
        with torch.no_grad():
            quotient = (loss(start + direction) - loss(start - direction)) / 0.02
        return {
            "gradient": float(vectors.grad.norm()),
            "quotient": float(quotient),
            "lengths": list(method.frozen.select([0, 4]).lengths or ()),
        }


def prediction(name: str) -> dict:
    """What training computes of a prompt against what sampling does at the same noise level."""
    model, clip, _ = parts(name)
    with training(name) as own:
        told = own.encode_text(["a photo of a dog"])
        x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(2))
        timestep = torch.tensor([own.noise.train_steps // 2])
        level = own.noise.level(timestep)
        with torch.no_grad():
            velocity = own.predict(x, timestep, told, None)
        scale, multiple = own.vae_scale_factor, own.size_multiple
    frames = FAMILIES[name].frames
    noisy, expected = (each.unsqueeze(2) if frames else each for each in (x, x - level * velocity))
    positive = scenes.encode(clip, "a photo of a dog")
    with torch.inference_mode():  # one Euler step from here to the clean latents
        found = comfy.sample.sample_custom(
            model, noisy / level, 1.0, comfy.samplers.sampler_object("euler"), torch.tensor([float(level), 0.0]),
            positive, positive, torch.zeros_like(noisy), disable_pbar=True,
        )  # fmt: skip
    return {
        "error": hostkit.relative_error(model.model.process_latent_out(expected), found),
        "grid": [scale, multiple],
    }


def trains(name: str, checkpointing: bool = False) -> dict:
    """A run of the node: what is learned, what its file says, and what of the model is different afterwards.

    The tiny Flux.2 has fewer channels than the host's latents for it, so nothing previews it.
    """
    model, clip, vae = learning_parts(name)
    before = state(model)
    (residual,), losses, curve = train_anew(
        "", parts=(model, clip, vae), gradient_checkpointing=checkpointing, preview_every=0 if name == "Flux.2" else 2
    )
    after = state(model)
    conditioning = scenes.encode(clip, "a dog on the beach")
    moved = hostkit.run_node(
        "Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals={"residual0": (residual,)}
    )[0]
    record = conditioning[0][1]["cones2_prompt"]
    return {
        "losses": losses["loss"],
        "curve": list(curve.shape),
        "norm": float(residual.tensor.norm()),
        "moved": float((moved[0][0] - conditioning[0][0]).norm()),
        "changed": [key for key in before if before[key] != after[key]],
        "metadata": dict(residual.metadata),
        "encoders": [rows.encoder for rows in record.rows],
    }


def refused(what: str) -> str:
    """The sentence for what cannot be trained."""
    cases: dict[str, Any] = {
        "paper": ("Qwen-Image", {"method": "paper"}),
        "scenes": ("Qwen-Image", {"recipe": "scenes"}),
        "Anima": ("Anima", {}),
        "Cosmos": ("Cosmos", {}),
        "other clip": ("Qwen-Image", {"clip": FAMILIES["Flux.1"].clip}),
        "other layers": ("Flux.2", {"clip": lambda: z_image_clip(2560)}),  # both have the encoders of a Klein
        "other family": ("Krea 2", {"clip": lambda: z_image_clip(2560)}),
        "without T5": ("SD3.5", {"without": "t5xxl"}),
    }
    name, changes = cases[what]
    model, clip, vae = learning_parts(name)
    if "clip" in changes:
        clip = LearningClip(changes.pop("clip")())
    if "without" in changes:
        setattr(clip.cond_stage_model, changes.pop("without"), None)
    method = changes.pop("method", "direct")
    try:
        train_anew("", method, [photos()], (model, clip, vae), **changes)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
