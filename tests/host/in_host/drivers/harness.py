"""Drivers of the harness's own tests."""

import sys

import hostkit
import torch


def environment() -> dict:
    """What every host process must be: CPU, PyTorch attention, fixed threads, the pack's root not importable."""
    from comfy.ldm.modules import attention

    return {
        "attention": attention.optimized_attention.__name__,
        "threads": torch.get_num_threads(),
        "path": sys.path,
    }


def sampled(name: str) -> dict:
    """Two plain steps on a synthetic checkpoint: the prompt must matter and the numbers stay sane."""
    model, clip, vae = hostkit.checkpoint(name)
    latent, negative = hostkit.empty_latent(64, 64), hostkit.encode(clip, "")
    first = hostkit.ksampler(model, hostkit.encode(clip, "a mug and a dog"), negative, latent)
    again = hostkit.ksampler(model, hostkit.encode(clip, "a mug and a dog"), negative, latent)
    other = hostkit.ksampler(model, hostkit.encode(clip, "a cat"), negative, latent)
    picture = hostkit.run_node("VAEDecode", vae=vae, samples={"samples": first})[0]
    return {
        "kind": type(model.model).__name__,
        "prediction": model.model.model_type.name,
        "latent": hostkit.summary(first),
        "picture": hostkit.summary(picture),
        "repeatable": hostkit.identical(first, again),
        "prompt_effect": hostkit.relative_error(other, first),
    }
