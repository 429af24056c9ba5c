"""Image adapters and image encoders of random weights, and the formula of pictures written out."""

from typing import Any

import comfy.clip_vision
import hostkit
import scenes
import torch
import torch.nn.functional as F
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
