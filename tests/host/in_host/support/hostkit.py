"""What driver functions use inside the host: checkpoints, nodes, sampling, comparisons."""

import gc
import json
import logging
import os
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import hostboot  # noqa: F401  first import of the host: sets its options

# isort: split

import comfy.model_management
import comfy.sd
import torch
from safetensors import safe_open

import nodes


@lru_cache(maxsize=2)
def load_checkpoint(path: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a synthetic checkpoint, loaded as `CheckpointLoaderSimple` does."""
    with safe_open(path, "pt") as file:
        te_options = json.loads((file.metadata() or {}).get("te_model_options", "{}"))
    return comfy.sd.load_checkpoint_guess_config(path, te_model_options=te_options)[:3]


def checkpoint(name: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of the checkpoint `name`; the test asks for it with `needs`."""
    return load_checkpoint(str(Path(os.environ["CONES2_CHECKPOINTS"]) / f"{name}.safetensors"))


def run_node(node_id: str, **inputs: Any) -> tuple:
    """Execute one node as the host does (inference mode, defaults filled in) and return its outputs."""
    cls = nodes.NODE_CLASS_MAPPINGS[node_id]
    with torch.inference_mode():
        if hasattr(cls, "GET_SCHEMA"):
            cls.GET_SCHEMA()
            values = {**defaults(cls), **inputs}
            return cls.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**values).args
        result = getattr(cls(), cls.FUNCTION)(**inputs)
    return result.get("result", ()) if isinstance(result, dict) else result


def defaults(cls: Any) -> dict[str, Any]:
    """Widget defaults of a node's required inputs: what a newly dropped node would send."""
    required = cls.INPUT_TYPES().get("required", {})
    return {
        name: spec[1]["default"]
        for name, spec in required.items()
        if len(spec) > 1 and isinstance(spec[1], dict) and "default" in spec[1]
    }


def encode(clip: Any, text: str) -> Any:
    """CONDITIONING of the stock CLIPTextEncode."""
    return run_node("CLIPTextEncode", clip=clip, text=text)[0]


def empty_latent(width: int = 128, height: int = 128, batch: int = 1) -> dict:
    return run_node("EmptyLatentImage", width=width, height=height, batch_size=batch)[0]


def ksampler(model: Any, positive: Any, negative: Any, latent: dict, **options: Any) -> torch.Tensor:
    """Latents of the stock KSampler; two Euler steps unless `options` say otherwise."""
    values = dict(seed=7, steps=2, cfg=7.5, sampler_name="euler", scheduler="normal", denoise=1.0)
    latent_out = run_node(
        "KSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        **(values | options),
    )[0]
    return latent_out["samples"]


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference divided by the largest expected magnitude, in float64."""
    actual, expected = actual.double(), expected.double()
    return float((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Same shape, dtype and bits."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b))


def summary(x: torch.Tensor) -> dict:
    """JSON description of a tensor: shape, whether finite, standard deviation."""
    return {"shape": list(x.shape), "finite": bool(x.isfinite().all()), "std": float(x.float().std())}


@contextmanager
def warnings_of(logger: str = ""):
    """The log records at WARNING or above that the block produces (all loggers unless one is named)."""
    records: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    target = logging.getLogger(logger)
    target.addHandler(handler)
    try:
        yield records
    finally:
        target.removeHandler(handler)


def release() -> None:
    """Unload every model and collect garbage, as the host does between prompts under pressure."""
    comfy.model_management.unload_all_models()
    gc.collect()
