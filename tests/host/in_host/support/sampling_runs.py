"""Sampling runs that the drivers share."""

from collections.abc import Callable
from typing import Any

import hostkit
import scenes
from torch import Tensor

LATENT = (128, 96)


def parts(name: str) -> tuple[Any, Any, Any, Any]:
    """MODEL, positive (with tokens), negative and layout."""
    model, clip, _ = hostkit.checkpoint(name)
    return model, scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.layout()


def custom(
    model: Any,
    positive: Any,
    negative: Any,
    latent: dict,
    wrapped: bool,
    sampler_name: str = "euler",
    steps: int = 3,
    denoise: float = 1.0,
    sigmas: Tensor | None = None,
    foreign: Callable[[Any], Any] | None = None,
) -> Tensor:
    """Latents of SamplerCustomAdvanced with the sampler wrapped by Self Recurrence or not, then by `foreign`."""
    sampler = hostkit.run_node("KSamplerSelect", sampler_name=sampler_name)[0]
    if wrapped:
        sampler = hostkit.run_node("Cones2SelfRecurrence", sampler=sampler)[0]
    if foreign:
        sampler = foreign(sampler)
    guider = hostkit.run_node("CFGGuider", model=model, positive=positive, negative=negative, cfg=7.5)[0]
    if sigmas is None:
        sigmas = hostkit.run_node("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=denoise)[0]
    noise = hostkit.run_node("RandomNoise", noise_seed=7)[0]
    out = hostkit.run_node(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    )
    return out[0]["samples"]


def watched_calls(model: Any) -> list[int]:
    """A list that fills with the numbers of the model calls that a layout guides."""
    seen: list[int] = []
    calls = iter(range(100))

    def spy(executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = next(calls)
        options = args[-1] if args and isinstance(args[-1], dict) else kwargs["transformer_options"]
        if options.get("patches_replace", {}).get("attn2"):
            seen.append(call)
        return executor(x, t, *args, **kwargs)

    model.add_wrapper_with_key("apply_model", "later", spy)
    return seen
