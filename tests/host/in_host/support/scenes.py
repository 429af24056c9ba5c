"""Prompts, layouts and reference models that the drivers of the node tests share."""

import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ops
import comfy.sample
import comfy.samplers
import hostkit
import torch
import torch.nn.functional as F
from torch import Tensor

import nodes

PROMPT = "a dog and a mug on the beach"
DOG, MUG = (2,), (5,)  # rows of the words of PROMPT, the start token being row 0
STRENGTH = 0.08
DOG_BOX, MUG_BOX = (0.1, 0.0, 0.9, 0.45), (0.3, 0.5, 0.9, 1.0)  # top, left, bottom, right as fractions
FILLER = "sand and sea under a wide evening sky with clouds near the old harbour "


def module(name: str) -> ModuleType:
    """A module of the pack, as the host loaded it: module("nodes.text"), module("cones2.prompt.tokens")."""
    package = nodes.NODE_CLASS_MAPPINGS["Cones2TextEncode"].__module__.removesuffix(".nodes.text")
    return sys.modules[f"{package}.{name}"]


def long_prompt(tokens: int) -> str:
    """PROMPT followed by filler up to `tokens` tokens (each word of both is one token)."""
    words = (PROMPT + ", " + FILLER * 40).replace(",", " ,").split()
    return " ".join(words[:tokens])


def box_image(boxes: dict[tuple[int, int, int], tuple[float, ...]], height: int = 96, width: int = 128) -> Tensor:
    """IMAGE [1, H, W, 3]: colored boxes on white."""
    image = torch.ones(1, height, width, 3)
    for color, (top, left, bottom, right) in boxes.items():
        rows, columns = (
            slice(round(top * height), round(bottom * height)),
            slice(round(left * width), round(right * width)),
        )
        image[:, rows, columns] = torch.tensor(color) / 255
    return image


def layout(
    dog: tuple[float, ...] = DOG_BOX, mug: tuple[float, ...] = MUG_BOX, height: int = 96, width: int = 128
) -> Any:
    image = box_image({(255, 0, 0): dog, (255, 192, 0): mug}, height, width)
    return hostkit.run_node("Cones2ColorLayoutToMasks", image=image, colors="255,0,0 = dog\n255,192,0 = mug")[0]


def encode(clip: Any, text: str = PROMPT) -> Any:
    return hostkit.run_node("Cones2TextEncode", clip=clip, text=text)[0]


def guide(model: Any, conditioning: Any, layout: Any, **options: Any) -> tuple[Any, Any]:
    """MODEL and CONDITIONING of Cones2ApplyLayoutGuidance."""
    return hostkit.run_node(
        "Cones2ApplyLayoutGuidance", model=model, conditioning=conditioning, layout=layout, **options
    )


def guided_ksampler(model: Any, positive: Any, negative: Any, latent: dict, layout: Any, **options: Any) -> Tensor:
    """Latents of Cones2LayoutGuidedKSampler; two Euler steps without recurrence unless `options` say otherwise."""
    values = dict(seed=7, steps=2, sampler_name="euler", scheduler="normal", recurrence=False)
    out, *_ = hostkit.run_node(
        "Cones2LayoutGuidedKSampler",
        model=model, positive=positive, negative=negative, latent_image=latent, layout=layout, **(values | options),
    )  # fmt: skip
    return out["samples"]


def noise(batch: int = 1, height: int = 12, width: int = 16, seed: int = 3) -> Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))


def denoised(model: Any, positive: Any, negative: Any, start: Tensor, cfg: float = 7.5, sigma: float = 5.0) -> Tensor:
    """The model's prediction of clean latents at one noise level: one Euler step to zero."""
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            model, start, cfg, comfy.samplers.sampler_object("euler"), torch.tensor([sigma, 0.0]),
            positive, negative, torch.zeros_like(start), disable_pbar=True, seed=1,
        )  # fmt: skip


@lru_cache(maxsize=64)
def _weights(layout: Any, grid: tuple[int, int]) -> dict[str, Tensor]:
    """W of each subject at a grid, flattened."""
    maps = module("cones2.guidance.weight_maps")
    built = maps.weight_maps(layout, [((index,),) for index in range(len(layout.regions))])
    at = built.at(*grid)
    return {region.subject: at[:, index] for index, region in enumerate(layout.regions)}


Rows = dict[str, tuple[int, ...]]


def naive_attention(
    q: Tensor, k: Tensor, v: Tensor, extra: dict, layout: Any, rows: Rows, own: int, sigma: float
) -> Tensor:
    """The published formula written out for one prompt, head by head, with all scores formed.

    own: rows of the prompt itself; k may hold repetitions of them and further columns.
    """
    heads, grid = extra["n_heads"], tuple(extra["activations_shape"][-2:])
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2).double() for x in (q, k, v))
    scores = q @ k.mT
    weight = torch.zeros(scores.shape[-2], own, dtype=torch.double)
    for subject, columns in rows.items():
        weight[:, list(columns)] = _weights(layout, grid)[subject].double()[:, None]
    std = torch.stack([image[..., :own].std() for image in scores])
    term = STRENGTH * weight * torch.log1p(torch.tensor(sigma).double() ** 2)
    repeated = term.repeat(1, extra.get("repeats", 1))
    full = F.pad(repeated, (0, scores.shape[-1] - repeated.shape[-1]))
    out = ((scores + full * std[:, None, None, None]) * q.shape[-1] ** -0.5).softmax(-1) @ v
    return out.transpose(1, 2).flatten(2).float()


def naive_model(model: Any, layout: Any, rows: Rows, own: int = 77, value_factor: float = 1.0) -> Any:
    """A clone whose cross-attention is written out as published for the positive conditioning.

    value_factor: what a foreign attention function does to the values.
    """

    def replaced(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
        sigma = float(extra["sigmas"][0])
        extra, v = extra | {"repeats": k.shape[1] // own}, v * value_factor
        out = []
        chunks = zip(*(x.chunk(len(extra["cond_or_uncond"])) for x in (q, k, v)), strict=True)
        for chunk, parts in zip(extra["cond_or_uncond"], chunks, strict=True):
            if chunk == 0:
                out.append(naive_attention(*parts, extra, layout, rows, own, sigma))
            else:
                out.append(plain_attention(*parts, extra))
        return torch.cat(out)

    return with_replaced(model, replaced)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
    q, k, v = (x.unflatten(-1, (extra["n_heads"], -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def with_replaced(model: Any, attention: Callable[..., Tensor]) -> Any:
    """A clone with a static attn2 replacement in every layer, the way other packs set one."""
    clone = model.clone()
    for name, number, index in module("nodes.host.attention.unet").layer_keys(model.model.diffusion_model):
        clone.set_model_attn2_replace(attention, name, number, index)
    return clone


class Calls:
    """Counts the forward passes of a clone of a model."""

    def __init__(self, model: Any):
        self.count = 0
        self.model = model.clone()
        self.model.add_wrapper_with_key("apply_model", "test", self._wrapper)

    def _wrapper(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return executor(*args, **kwargs)


def controlnet(model: Any) -> Any:
    """CONTROL_NET of random weights in the shape of the model's own UNet."""
    config = {key: value for key, value in model.model.model_config.unet_config.items() if key != "out_channels"}
    config |= {"hint_channels": 3, "dtype": torch.float32, "device": "cpu", "operations": comfy.ops.manual_cast}
    network = comfy.cldm.cldm.ControlNet(**config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            scale = 0.3 * weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.0
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"), manual_cast_dtype=torch.float32)
