"""Drivers for attention on the sampler's preview."""

from typing import Any
from unittest import mock

import comfy.utils
import hostkit
import numpy as np
import scenes
import tiny_transformers
import torch
from sampling_runs import LATENT, parts


def of_transformer(name: str) -> dict:
    """As `views`, with a small transformer of a family."""
    model, clip, family = tiny_transformers.parts(name)
    latent = {"samples": torch.zeros_like(tiny_transformers.noise(family))}
    return _views(model, scenes.encode(clip), hostkit.encode(clip, "blurry"), latent, scenes.layout(), False)


def views(recurrence: bool = False, combined: bool = False) -> dict:
    """A run with and without: whether the bits are the same, and what each showed in its node."""
    model, positive, negative, layout = parts("sd15_short")
    if combined:  # another prompt in front, which has no layout of its own
        other = scenes.encode(hostkit.checkpoint("sd15_short")[1], "a house")
        positive = hostkit.run_node("ConditioningCombine", conditioning_1=other, conditioning_2=positive)[0]
    return _views(model, positive, negative, hostkit.empty_latent(*LATENT), layout, recurrence)


def _views(model: Any, positive: Any, negative: Any, latent: dict, layout: Any, recurrence: bool) -> dict:
    shown: dict[bool, list[Any]] = {}
    latents = {}
    for on in (False, True):
        reports: list[Any] = shown.setdefault(on, [])

        def hook(value: int, total: int, preview: Any, reports: list[Any] = reports, **_: Any) -> None:
            reports.append((value, total, preview))

        with mock.patch.object(comfy.utils, "PROGRESS_BAR_HOOK", hook):
            latents[on] = scenes.guided_ksampler(
                model, positive, negative, latent, layout, steps=3, recurrence=recurrence, guided_steps=2,
                show_attention=on,
            )  # fmt: skip
    pictures = [np.asarray(preview[1], dtype=np.float64) for _, _, preview in shown[True] if preview]
    return {
        "same": hostkit.identical(latents[False], latents[True]),
        "plain previews": sum(preview is not None for _, _, preview in shown[False]),
        "steps": [[value, total] for value, total, preview in shown[True] if preview],
        "sizes": [list(picture.shape) for picture in pictures],
        "colored": [float(np.ptp(picture, axis=-1).mean()) for picture in pictures],
        "left": sorted(key for key in model.model_options["transformer_options"] if key.startswith("cones2")),
    }


def cost_when_off() -> int:
    """How often a run without it shows attention to anybody."""
    model, positive, negative, layout = parts("sd15_short")
    unet = scenes.module("nodes.host.attention.unet")
    with mock.patch.object(unet.Forward, "show") as show:
        scenes.guided_ksampler(model, positive, negative, hostkit.empty_latent(*LATENT), layout)
    return show.call_count
