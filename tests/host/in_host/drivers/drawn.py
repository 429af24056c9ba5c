"""Drivers for Layout Painter and Scene, and for samplers that take the layout from the conditioning."""

import json
from pathlib import Path
from typing import Any

import folder_paths
import hostkit
import scenes
import torch
from node_calls import apply, load, residual
from safetensors.torch import save_file

DOG, MUG = {"box": [0, 0.25, 0.5, 0.5]}, {"ellipse": [0.5, 0.25, 0.5, 0.5]}


def document(*subjects: dict[str, Any]) -> str:
    return json.dumps({"version": 1, "subjects": list(subjects)})


def both(**more: Any) -> str:
    return document({"name": "dog", "shapes": [DOG], **more}, {"name": "mug", "shapes": [MUG], "weight": 3})


def paint(text: str, **options: Any) -> tuple:
    return hostkit.run_node("Cones2LayoutPainter", layout_document=text, **{"width": 128, "height": 96, **options})


def painted() -> dict:
    layout, masks, preview, width, height = paint(both())
    linked = paint("", residuals={"residual0": residual("dog"), "residual1": residual("mug")})[0]
    return {
        "subjects": [[region.subject, region.weight] for region in layout.regions],
        "masks": [list(masks.shape), bool(torch.equal(masks[0] > 0, layout.regions[0].mask)), float(masks[0].mean())],
        "preview": list(preview.shape),
        "size": [width, height],
        "linked": [[region.subject, region.share] for region in linked.regions],
        "background": list(shown_behind()),
    }


def shown_behind() -> dict[str, Any]:
    """The ui output of a painter with a picture behind it."""
    node = scenes.module("nodes.painter").Cones2LayoutPainter
    found = node.execute(64, 64, both(), image=torch.rand(2, 8, 8, 4))
    return {name: len(files) for name, files in found.ui.items()} if found.ui else {}


def said(text: str, scene: bool = False) -> str:
    """What the check before a run says about a document; "" when nothing."""
    name, node = ("scene", "Cones2Scene") if scene else ("painter", "Cones2LayoutPainter")
    found = getattr(scenes.module(f"nodes.{name}"), node).validate_inputs(text)
    return "" if found is True else str(found)


def compose(clip: Any, text: str, **options: Any) -> tuple:
    values = {"prompt": scenes.PROMPT, "negative_prompt": "rain", "width": 128, "height": 96, "batch_size": 2}
    return hostkit.run_node("Cones2Scene", clip=clip, layout_document=text, **(values | options))


def scene(name: str) -> dict:
    """Scene against the small nodes that it is made of."""
    clip = hostkit.checkpoint(name)[1]
    vector = torch.randn(1, 768, generator=torch.Generator().manual_seed(5))
    save_file({"residual": vector}, Path(folder_paths.get_folder_paths("residuals")[0]) / "drawn_rex.safetensors")
    text = both(residual="drawn_rex.safetensors", strength=0.5)
    positive, negative, latent, layout = compose(clip, text, residuals={"residual0": residual("mug")})
    expected = apply(scenes.encode(clip), residual("mug"), load("drawn_rex.safetensors", subject="dog", strength=0.5))
    return {
        "positive": hostkit.identical(positive[0][0], expected[0][0]),
        "changed": not hostkit.identical(positive[0][0], scenes.encode(clip)[0][0]),
        "negative": hostkit.identical(negative[0][0], scenes.encode(clip, "rain")[0][0]),
        "latent": list(latent["samples"].shape),
        "layout": [[region.subject, region.weight] for region in layout.regions],
        "carried": positive[0][1]["cones2_layout"].layout is layout,
    }


def placed_by_prompt(name: str) -> dict:
    """A region in the prompt against the plain prompt."""
    clip = hostkit.checkpoint(name)[1]
    text = scenes.PROMPT.replace("dog", "dog[region 0 0 0.25 0.5]")
    positive, _, _, layout = compose(clip, both(), prompt=text)
    return {
        "encoded": hostkit.identical(positive[0][0], scenes.encode(clip)[0][0]),
        "shares": {region.subject: region.share for region in layout.regions},
    }


def carried(name: str) -> dict:
    """Sampling with the layout that the conditioning carries, and with the same layout connected."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, latent, layout = compose(clip, both(), batch_size=1)
    plain = scenes.encode(clip)
    numbers = {"guidance_weight": 0.3, "recurrence": True}
    connected = scenes.guided_ksampler(model, plain, negative, latent, layout, **numbers)
    own = scenes.guided_ksampler(model, positive, negative, latent, None, **numbers)
    unguided = hostkit.ksampler(model, plain, negative, latent)
    _, guided_model, guided = hostkit.run_node(
        "Cones2LayoutGuidedKSampler", model=model, positive=positive, negative=negative, latent_image=latent,
        steps=1, sampler_name="euler", scheduler="normal", guidance_weight=0.3,
    )  # fmt: skip
    again = scenes.guided_ksampler(guided_model, guided, negative, latent, layout, **numbers)
    return {
        "same": hostkit.identical(own, connected),
        "guided": hostkit.relative_error(own, unguided),
        "given out": guided[0][1]["cones2_layout"].guidance_weight,
        "usable": hostkit.identical(again, connected),
        "plain model": hostkit.identical(hostkit.ksampler(model, plain, negative, latent), unguided),
    }


def refused(name: str, what: str) -> str:
    """The sentence of a node given something wrong."""
    model, clip, _ = hostkit.checkpoint(name)
    plain, latent = scenes.encode(clip), hostkit.empty_latent(64, 64)
    wrong = {
        "no layout": lambda: scenes.guided_ksampler(model, plain, plain, latent, None),
        "no subject": lambda: paint(""),
        "not in the prompt": lambda: compose(clip, document({"name": "cat", "shapes": [DOG]})),
        "absent file": lambda: compose(clip, both(residual="gone.safetensors")),
        "no clip": lambda: compose(None, both()),
        "odd picture": lambda: paint(both(), image=torch.rand(1, 8, 8, 5)),
    }
    try:
        wrong[what]()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
