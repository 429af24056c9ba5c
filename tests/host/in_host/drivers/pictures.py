"""Drivers for subjects from pictures: what the adapted model computes, beside the formula written out."""

from typing import Any

import comfy.clip_vision
import comfy.sd
import hostkit
import scenes
import torch
import torch.nn.functional as F
from foreign import Foreign
from torch import Tensor

FEATURES, TOKENS, SIDE = 24, 4, 32
NAMES = ("dog", "mug", "beach", "on the")
VISION = {
    "hidden_act": "gelu", "hidden_size": 16, "image_size": SIDE, "intermediate_size": 32, "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model", "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 2,
    "patch_size": 8, "projection_dim": FEATURES,
}  # fmt: skip


def vision(**changes: Any) -> Any:
    """CLIP_VISION of random weights."""
    model = comfy.clip_vision.ClipVisionModel(VISION | changes)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, weight in model.model.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator) * 0.3
            weight.copy_(drawn + 1 if "norm" in name and name.endswith("weight") else drawn)
    return model


def modules(model: Any) -> dict[tuple, Any]:
    return scenes.module("nodes.host.attention.pictures")._cross_attentions(model.model.diffusion_model)


def weights(model: Any, kind: str = "mip") -> dict:
    """IPADAPTER of random weights for the model."""
    generator = torch.Generator().manual_seed(6)
    layers = list(modules(model).values())
    width = layers[0].to_k.in_features
    found = {}
    for number, layer in enumerate(layers):
        own = layer.to_q.out_features
        for name in ("to_k_ip", "to_v_ip"):
            found[f"{2 * number + 1}.{name}.weight"] = torch.randn(own, width, generator=generator) * width**-0.5
        if kind != "plain":
            found[f"{2 * number + 1}.text_to_weight.weight"] = torch.randn(1, own, generator=generator) * own**-0.5
    if kind == "plus":
        return {"image_proj": resampler(width, generator), "ip_adapter": found}
    projection = {
        "proj.weight": torch.randn(TOKENS * width, FEATURES, generator=generator) * FEATURES**-0.5,
        "proj.bias": torch.zeros(TOKENS * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    return {"image_proj": projection, "ip_adapter": found}


def resampler(width: int, generator: torch.Generator) -> dict:
    """A "plus" projection with one layer and one head."""
    inner, features = 64, VISION["hidden_size"]
    shapes = {"latents": (1, 6, inner), "proj_in.weight": (inner, features), "proj_out.weight": (width, inner)}
    shapes |= {"layers.0.0.to_q.weight": (inner, inner), "layers.0.0.to_out.weight": (inner, inner)}
    shapes |= {"layers.0.0.to_kv.weight": (2 * inner, inner), "layers.0.1.1.weight": (4 * inner, inner)}
    shapes |= {"layers.0.1.3.weight": (inner, 4 * inner)}
    norms = {"proj_in": inner, "proj_out": width}
    weights = {name: torch.randn(shape, generator=generator) * shape[-1] ** -0.5 for name, shape in shapes.items()}
    weights |= {f"{name}.bias": torch.zeros(size) for name, size in norms.items()}
    for name, size in {
        "layers.0.0.norm1": inner,
        "layers.0.0.norm2": inner,
        "layers.0.1.0": inner,
        "norm_out": width,
    }.items():
        weights |= {f"{name}.weight": torch.ones(size), f"{name}.bias": torch.zeros(size)}
    return weights


def picture(seed: int) -> Tensor:
    """IMAGE of the image encoder's own size, so that nothing is resized."""
    return (torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(seed)) * 255).round() / 255


def subject(name: str, seed: int, **options: Any) -> Any:
    return hostkit.run_node("Cones2SubjectFromPictures", image=picture(seed), subject=name, **options)[0]


def subjects(count: int) -> dict:
    return {f"subject{number}": subject(NAMES[number], number) for number in range(count)}


def adapted(model: Any, clip: Any, count: int = 2, kind: str = "mip", **options: Any) -> Any:
    """MODEL of Cones2ApplyMIPAdapter."""
    inputs = {"ipadapter": weights(model, kind), "subjects": subjects(count), "clip_vision": vision()} | options
    return hostkit.run_node("Cones2ApplyMIPAdapter", model=model, clip=clip, **inputs)[0]


def tokens_of(projection: dict, features: Tensor) -> Tensor:
    made = features.float() @ projection["proj.weight"].T + projection["proj.bias"]
    width = len(projection["norm.weight"])
    return F.layer_norm(made.view(len(features), -1, width), (width,))


class Naive:
    """The published formula with every table formed, as attn2 replacements of a clone."""

    def __init__(self, model: Any, clip: Any, count: int, kind: str, shares: Any = None, scale: float = 0.75):
        self.given, self.scale, self.shares, self.kind = weights(model, kind), scale, shares, kind
        encoder, projection = vision(), self.given["image_proj"]
        with torch.inference_mode():
            outputs = [encoder.encode_image(picture(number)) for number in range(count)]
            if kind == "plus":
                adapter = scenes.module("cones2.picture_adapter.adapter_file").adapter_of(self.given)
                project = scenes.module("cones2.picture_adapter.projection").project
                zeros = encoder.model(pixel_values=torch.zeros(1, 3, SIDE, SIDE), intermediate_output=-2)[1]
                self.tokens = [project(adapter, one.penultimate_hidden_states)[0] for one in outputs]
                self.unconditional = project(adapter, zeros)[0]
            else:
                self.tokens = [tokens_of(projection, one.image_embeds)[0] for one in outputs]
                self.unconditional = tokens_of(projection, torch.zeros(1, FEATURES))[0]
            self.rows = []
            for name in NAMES[:count]:
                encoded = hostkit.encode(clip, name)[0][0]
                self.rows.append(encoded[0, 1 : 1 + len(name.split())])

    def model(self, model: Any, base: Any = None) -> Any:
        """base: (q, k, v, extra) → what the pictures are added to; the text attention by default."""
        keys = list(modules(model))

        def replaced(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
            key = (*extra["block"], extra["block_index"])
            text = scenes.plain_attention(q, k, v, extra)
            start = text if base is None else base(q, k, v, extra)
            parts = []
            chunks = zip(q.chunk(len(extra["cond_or_uncond"])), text.chunk(len(extra["cond_or_uncond"])), strict=True)
            for index, (own, h) in zip(extra["cond_or_uncond"], chunks, strict=True):
                parts.append(self.added(own, h, index, keys.index(key), modules(model)[key], extra))
            return start + torch.cat(parts)

        return scenes.with_replaced(model, replaced)

    def added(self, q: Tensor, h: Tensor, index: int, number: int, layer: Any, extra: dict) -> Tensor:
        given, heads = self.given["ip_adapter"], extra["n_heads"]
        own = {name: given.get(f"{2 * number + 1}.{name}.weight") for name in ("to_k_ip", "to_v_ip", "text_to_weight")}
        split = q.unflatten(-1, (heads, -1)).transpose(1, 2)
        maps = []
        for rows in self.rows:
            keys = layer.to_k(rows).unflatten(-1, (heads, -1)).transpose(0, 1)
            scores = (keys @ split.mT * split.shape[-1] ** -0.5).softmax(-1)
            maps.append(scores.mean((1, 2)))
        m = torch.stack(maps, 1)
        m = torch.ones_like(m) if index else m
        r = torch.ones_like(m[0]) if self.shares is None else self.shares(tuple(extra["activations_shape"][-2:]))
        w = m * r / (m * r).sum(1, keepdim=True).clamp(min=1e-30) * r.amax(0)
        total = torch.zeros_like(h)
        for j, image in enumerate([self.unconditional] * len(self.tokens) if index else self.tokens):
            k, v = image @ own["to_k_ip"].T, image @ own["to_v_ip"].T
            attention = scenes.plain_attention(q, k.expand(len(q), -1, -1), v.expand(len(q), -1, -1), extra)
            total += w[:, j, :, None] * attention
        if own["text_to_weight"] is not None:
            gate = (h @ own["text_to_weight"][0]).sigmoid()
            total = total * (gate / gate.mean(-1, keepdim=True))[..., None]
        return self.scale * total


def halves(grid: tuple[int, int]) -> Tensor:
    """r_j(p) of two subjects, the first in the left half."""
    left = torch.zeros(grid)
    left[:, : grid[1] // 2] = 1
    return torch.stack([left, 1 - left]).flatten(1)


def left_and_right(width: int = 128) -> Any:
    return scenes.layout(dog=(0, 0, 1, 0.5), mug=(0, 0.5, 1, 1), width=width)


def formula(
    name: str,
    count: int,
    kind: str = "mip",
    batch: int = 1,
    height: int = 12,
    width: int = 16,
    negative: str = "blurry",
) -> dict:
    """The adapted prediction against the formula written out, and how far the pictures move it at all."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, other = scenes.encode(clip), hostkit.encode(clip, negative)
    start = scenes.noise(batch, height, width)
    calls = scenes.Calls(adapted(model, clip, count, kind))
    found = scenes.denoised(calls.model, positive, other, start)
    naive = Naive(model, clip, count, kind).model(model)
    return {
        "calls": calls.count,
        "error": hostkit.relative_error(found, scenes.denoised(naive, positive, other, start)),
        "effect": hostkit.relative_error(found, scenes.denoised(model, positive, other, start)),
    }


def placed(name: str) -> dict:
    """With a layout each subject's pictures count in its half only."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    found = scenes.denoised(adapted(model, clip, layout=left_and_right()), positive, negative, start)
    naive = Naive(model, clip, 2, "mip", halves).model(model)
    return {
        "error": hostkit.relative_error(found, scenes.denoised(naive, positive, negative, start)),
        "effect": hostkit.relative_error(found, scenes.denoised(adapted(model, clip), positive, negative, start)),
    }


def area(name: str) -> dict:
    """A prompt confined to the right half is shown that half of the layout."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, start = scenes.encode(clip), scenes.noise(height=12, width=16)
    confined = hostkit.run_node(
        "ConditioningSetArea", conditioning=positive, width=64, height=96, x=64, y=0, strength=1.0
    )[0]
    layout = scenes.layout(dog=(0, 0, 1, 0.75), mug=(0, 0.75, 1, 1))
    found = scenes.denoised(adapted(model, clip, layout=layout), confined, positive, start, cfg=1.0)
    naive = Naive(model, clip, 2, "mip", halves).model(model)  # the right half of that layout
    expected = scenes.denoised(naive, positive, positive, start[..., 8:], cfg=1.0)
    return {"error": hostkit.relative_error(found[..., 10:], expected[..., 2:])}


def beside_layout(name: str) -> dict:
    """Layout guidance and pictures in either order, against both formulas written out."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start, layout = (
        scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise(), scenes.layout(),
    )  # fmt: skip
    guided_model, guided = scenes.guide(model, positive, layout)
    after = scenes.denoised(adapted(guided_model, clip), guided, negative, start)
    before = scenes.denoised(scenes.guide(adapted(model, clip), positive, layout)[0], guided, negative, start)
    rows = {"dog": scenes.DOG, "mug": scenes.MUG}
    replaced = scenes.naive_model(model, layout, rows).model_options["transformer_options"]["patches_replace"]["attn2"]
    base = next(iter(replaced.values()))
    expected = scenes.denoised(Naive(model, clip, 2, "mip").model(model, base), positive, negative, start)
    return {
        "order": hostkit.relative_error(before, after),
        "error": hostkit.relative_error(after, expected),
        "pictures": hostkit.relative_error(after, scenes.denoised(guided_model, guided, negative, start)),
    }


def beside_foreign(name: str, kind: str) -> dict:
    """A foreign change of the model before and after the adapter."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    change = getattr(Foreign(), kind)
    after = scenes.denoised(change(adapted(model, clip)), positive, negative, start)
    before = scenes.denoised(adapted(change(model), clip), positive, negative, start)
    if kind == "lora":
        changed = change(model)
        expected = Naive(changed, clip, 2, "mip").model(changed)
    else:
        theirs = change(model).model_options["transformer_options"]["patches_replace"]["attn2"]
        expected = Naive(model, clip, 2, "mip").model(model, next(iter(theirs.values())))
    return {
        "order": hostkit.relative_error(before, after),
        "error": hostkit.relative_error(after, scenes.denoised(expected, positive, negative, start)),
        "change": hostkit.relative_error(after, scenes.denoised(adapted(model, clip), positive, negative, start)),
    }


def untouched(name: str) -> dict:
    """Nothing is added at scale or strength 0 and outside the window, and the model is left as it was."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = scenes.encode(clip), hostkit.encode(clip, "blurry")

    def run(adapted_model: Any) -> Tensor:
        return hostkit.ksampler(adapted_model, positive, negative, hostkit.empty_latent(128, 96))

    plain, options = run(model), repr(model.model_options)
    late = adapted(model, clip, start_percent=0.5, end_percent=0.5)
    weak = {f"subject{number}": subject(NAMES[number], number, strength=0.0) for number in range(2)}
    with_pictures = run(adapted(model, clip))
    return {
        "scale": hostkit.identical(run(adapted(model, clip, scale=0.0)), plain),
        "strength": hostkit.identical(run(adapted(model, clip, subjects=weak)), plain),
        "window": hostkit.identical(run(late), plain),
        "effect": hostkit.relative_error(with_pictures, plain),
        "again": hostkit.identical(run(adapted(model, clip)), with_pictures),
        "clean": hostkit.identical(run(model), plain) and repr(model.model_options) == options,
    }


def two_adapters(name: str) -> dict:
    """Two nodes on one wire add up; each keeps its own subjects."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    both = adapted(adapted(model, clip, 1), clip, 2)
    swapped = adapted(adapted(model, clip, 2), clip, 1)
    found, other = (scenes.denoised(one, positive, negative, start) for one in (both, swapped))
    return {
        "order": hostkit.relative_error(found, other),
        "more": hostkit.relative_error(found, scenes.denoised(adapted(model, clip, 2), positive, negative, start)),
    }


def with_residual_nodes(name: str) -> dict:
    """Subjects from pictures go through Apply Residual and Scene, which leave the words as they are."""
    _, clip, _ = hostkit.checkpoint(name)
    positive = scenes.encode(clip)
    dog = subject("dog", 0)
    applied = hostkit.run_node("Cones2ApplyResidualToConditioning", conditioning=positive, residuals={"residual0": dog})
    scene = hostkit.run_node("Cones2Scene", clip=clip, prompt=scenes.PROMPT, residuals={"residual0": dog})
    return {
        "applied": hostkit.identical(applied[0][0][0], positive[0][0]),
        "scene": hostkit.identical(scene[0][0][0], positive[0][0]),
        "regions": scene[3].subjects,
    }


def refused(name: str) -> dict:
    """The sentence of each mistake."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    cat = {"subject0": subject("cat", 0)}
    broken = picture(0) * float("nan")

    def sentence(call: Any) -> str:
        try:
            call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing was refused"

    def apply(**options: Any) -> str:
        return sentence(lambda: adapted(model, clip, **options))

    short = weights(model)
    short["ip_adapter"] = {key: value for key, value in short["ip_adapter"].items() if not key.startswith("1.")}
    return {
        "vision": apply(clip_vision=vision(projection_dim=16)),
        "no vision": apply(clip_vision=None),
        "other vision": apply(clip_vision=object()),
        "adapter": apply(ipadapter={"model": 1}),
        "layers": apply(ipadapter=short),
        "same": apply(subjects={"subject0": subject("dog", 0), "subject1": subject("mug", 0)}),
        "layout": apply(layout=left_and_right(), subjects=cat),
        "nan": sentence(lambda: hostkit.run_node("Cones2SubjectFromPictures", image=broken, subject="dog")),
        "prompt": sentence(lambda: scenes.denoised(adapted(model, clip, subjects=cat), positive, negative, start)),
        "save": sentence(
            lambda: hostkit.run_node("Cones2SaveResidual", residual=subject("dog", 0), name="x", overwrite=False)
        ),
    }


def unified(name: str) -> dict:
    """The pipeline of a unified loader brings adapter and image encoder."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    pipeline = {"ipadapter": {"model": weights(model)}, "clipvision": {"model": vision()}}
    found = scenes.denoised(adapted(model, clip, ipadapter=pipeline, clip_vision=None), positive, negative, start)
    return {"error": hostkit.relative_error(found, scenes.denoised(adapted(model, clip), positive, negative, start))}
