"""Nodes given something wrong: the sentence that each answers with."""

from typing import Any

import hostkit
import scenes
import torch
from node_calls import apply, boxes, color_layout, load, load_config, masks, nameless, residual, save, write_config
from torch import Tensor


def fails(what: str) -> str:
    """The message of a node given something wrong; "" when it takes it."""
    model, clip, _ = hostkit.checkpoint("sd15_short")
    try:
        WRONG[what](model, clip)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def masks_weighing(weight: float) -> Any:
    return hostkit.run_node("Cones2LayoutFromMasks", masks={"mask0": torch.ones(8, 8)}, subjects="dog", weight=weight)


def save_below_a_file() -> None:
    save(residual(), name="a", overwrite=True)
    save(residual(), name="a.safetensors/b")


def guide_by(model: Any, clip: Any, **numbers: float) -> Any:
    return scenes.guide(model, scenes.encode(clip), scenes.layout(), **numbers)


def sample_by(model: Any, clip: Any, **numbers: float) -> Any:
    positive = scenes.encode(clip)
    return scenes.guided_ksampler(model, positive, positive, hostkit.empty_latent(64, 64), scenes.layout(), **numbers)


def train_on(images: Tensor, **inputs: Any) -> Any:
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]
    lists = {name: [value] for name, value in {**hostkit.defaults(node), **inputs}.items()}
    return hostkit.run_node("Cones2TrainResidual", **{**lists, "images": [images]})


def train_as(name: str, model: Any, clip: Any) -> Any:
    """A training whose file could not be saved is refused before it starts."""
    images = torch.ones(3, 64, 64, 3)
    return train_on(images, model=model, clip=clip, vae=hostkit.checkpoint("sd15_short")[2], save_name=name)


def look(model: Any, clip: Any, **options: Any) -> Tensor:
    """IMAGE of Cones2SubjectAttention for an unguided prompt."""
    latent = hostkit.empty_latent(64, 64)
    values = dict(model=model, conditioning=scenes.encode(clip), latent=latent, scheduler="normal")
    return hostkit.run_node("Cones2SubjectAttention", **values, **options)[0]


class NoAttention(torch.nn.Module):
    """Stands for a model of another architecture."""


def other_model(model: Any) -> Any:
    other = model.clone()
    other.model = type("PixArt", (), {"diffusion_model": NoAttention()})()
    return other


def shortened(model: Any, clip: Any) -> Tensor:
    """A guided prediction beside a patch that cuts the prompt."""
    guided_model, guided = scenes.guide(model, scenes.encode(clip), scenes.layout())
    guided_model.set_model_attn2_patch(lambda n, context, value, extra: (n, context[:, :9], value[:, :9]))
    return scenes.denoised(guided_model, guided, guided, scenes.noise())


class OwnSampler:
    """A sampler that is no KSAMPLER."""


NAN = torch.full((8, 8), float("nan"))
WRONG = {
    "missing subject": lambda model, clip: scenes.guide(model, scenes.encode(clip, "a cat and a mug"), scenes.layout()),
    "missing residual subject": lambda model, clip: apply(scenes.encode(clip, "a cat"), residual("dog")),
    "no tokens": lambda model, clip: scenes.guide(model, hostkit.encode(clip, "a dog and a mug"), scenes.layout()),
    "wrong text": lambda model, clip: apply(
        hostkit.encode(clip, "a dog"), residual(), clip=clip, text=scenes.long_prompt(90)
    ),
    "file without a phrase": lambda model, clip: apply(scenes.encode(clip, "a dog"), nameless("my_old_cat")),
    "wrong width and phrase": lambda model, clip: apply(scenes.encode(clip, "a dog"), residual("cat", 1024)),
    "wrong width": lambda model, clip: apply(scenes.encode(clip, "a dog"), residual("dog", 1024)),
    "too many rows": lambda model, clip: apply(scenes.encode(clip, "a dog"), residual("dog", 768, rows=2)),
    "two residuals saved": lambda model, clip: save(residual() + residual("cat"), name="x"),
    "file exists": lambda model, clip: [save(residual(), name="twice") for _ in range(2)],
    "outside": lambda model, clip: save(residual(), name="../../evil"),
    "absent file": lambda model, clip: load("nobody.safetensors"),
    "escaping file": lambda model, clip: load("../checkpoints/sd15_short.safetensors"),
    "no table": lambda model, clip: color_layout(" \n"),
    "duplicate colors": lambda model, clip: color_layout("red = dog\n#f00 = mug"),
    "no separator": lambda model, clip: color_layout("red dog"),
    "unknown color": lambda model, clip: color_layout("reddish = dog"),
    "bad weight": lambda model, clip: color_layout("red = dog @ heavy"),
    "absent color": lambda model, clip: color_layout("red = dog\nblue = mug"),
    "NaN picture": lambda model, clip: color_layout("red = dog", torch.full((1, 8, 8, 3), float("nan"))),
    "empty mask": lambda model, clip: masks(torch.zeros(1, 8, 8)),
    "NaN mask": lambda model, clip: masks(NAN),
    "masks and subjects": lambda model, clip: masks(torch.ones(2, 8, 8)),
    "no boxes": lambda model, clip: boxes([], ""),
    "nothing drawn": lambda model, clip: boxes(None),
    "no elements": lambda model, clip: boxes(None, elements=[]),
    "element without a name": lambda model, clip: boxes(None, elements=[{"bbox": [0, 0, 9, 9]}] * 2),
    "not an element": lambda model, clip: boxes(None, elements=[{"desc": "dog"}]),
    "odd color of an element": lambda model, clip: boxes(
        None, elements=[{"bbox": [0, 0, 9, 9], "color_palette": ["#12"]}]
    ),
    "boxes and subjects": lambda model, clip: boxes({"x": 0, "y": 0, "width": 9, "height": 9}, "dog\nmug"),
    "not a box": lambda model, clip: boxes([{"x": 1, "y": 2}]),
    "flat box": lambda model, clip: boxes([{"x": 1, "y": 2, "width": 0, "height": 3}]),
    "box outside": lambda model, clip: boxes([{"x": 200, "y": 2, "width": 5, "height": 3}]),
    "other architecture": lambda model, clip: scenes.guide(other_model(model), scenes.encode(clip), scenes.layout()),
    "shortened prompt": lambda model, clip: shortened(model, clip),
    "other sampler": lambda model, clip: hostkit.run_node("Cones2SelfRecurrence", sampler=OwnSampler()),
    "absent config": lambda model, clip: load_config("nowhere.json", clip),
    "escaping config": lambda model, clip: load_config("../models/x.json", clip),
    "no such entry": lambda model, clip: load_config(write_config(), clip, entry=3),
    "name with NUL": lambda model, clip: save(residual(), name="re\0x"),
    "name with a line break": lambda model, clip: save(residual(), name="re\nx"),
    "name with half a character": lambda model, clip: save(residual(), name="pets/\ud83d"),
    "long name": lambda model, clip: save(residual(), name="ü" * 150),
    "name of a device": lambda model, clip: save(residual(), name="pets/NUL.txt"),
    "name of a port": lambda model, clip: save(residual(), name="com1"),
    "name with a dot": lambda model, clip: save(residual(), name="rex."),
    "folder with a space": lambda model, clip: save(residual(), name="pets /rex"),
    "name of a stream": lambda model, clip: save(residual(), name="rex:hidden"),
    "file as folder": lambda model, clip: save_below_a_file(),
    "hidden way out": lambda model, clip: save(residual(), name="pets\\..\\..\\evil"),
    "absolute name": lambda model, clip: save(residual(), name="/tmp/evil"),
    "file with NUL": lambda model, clip: load("re\0x"),
    "config with NUL": lambda model, clip: load_config("a\0b.json", clip),
    "long config": lambda model, clip: load_config("a" * 5000 + ".json", clip),
    "zeroth entry": lambda model, clip: load_config(write_config(), clip, entry=0),
    "no pictures": lambda model, clip: color_layout("red = dog", torch.zeros(0, 8, 8, 3)),
    "picture without pixels": lambda model, clip: color_layout("red = dog", torch.zeros(1, 0, 8, 3)),
    "five channels": lambda model, clip: color_layout("red = dog", torch.zeros(1, 8, 8, 5)),
    "flat picture": lambda model, clip: color_layout("red = dog", torch.zeros(8, 8, 3)),
    "sparse picture": lambda model, clip: color_layout("red = dog", torch.ones(1, 8, 8, 3).to_sparse()),
    "NaN tolerance": lambda model, clip: color_layout("red = dog", tolerance=float("nan")),
    "NaN weight": lambda model, clip: masks_weighing(float("nan")),
    "no masks": lambda model, clip: masks(torch.ones(0, 8, 8)),
    "mask without cells": lambda model, clip: masks(torch.ones(1, 0, 0)),
    "mask of one row": lambda model, clip: masks(torch.ones(8)),
    "sparse mask": lambda model, clip: masks(torch.ones(1, 8, 8).to_sparse()),
    "400 digits": lambda model, clip: boxes({"x": 10**400, "y": 0, "width": 9, "height": 9}),
    "5000 digits": lambda model, clip: boxes([{"x": 0, "y": 0, "width": 10**5000, "height": 9}]),
    "NaN box": lambda model, clip: boxes({"x": float("nan"), "y": 0, "width": 9, "height": 9}),
    "huge strength": lambda model, clip: load("kennel/rex.safetensors", strength=10**400),
    "too long a path": lambda model, clip: train_as("/".join(["a" * 200] * 25), model, clip),
    "NaN strength": lambda model, clip: load("kennel/rex.safetensors", strength=float("nan")),
    "NaN guidance": lambda model, clip: guide_by(model, clip, guidance_weight=float("nan")),
    "NaN percent": lambda model, clip: guide_by(model, clip, end_percent=float("nan")),
    "infinite outside": lambda model, clip: sample_by(model, clip, outside_weight=float("-inf")),
    "NaN cfg": lambda model, clip: sample_by(model, clip, cfg=float("nan")),
    "photos without pixels": lambda model, clip: train_on(torch.ones(3, 0, 8, 3), model=model, clip=clip),
    "photos of five channels": lambda model, clip: train_on(torch.ones(3, 8, 8, 5), model=model, clip=clip),
    "nothing to look for": lambda model, clip: look(model, clip),
    "no steps": lambda model, clip: look(model, clip, subjects="dog", first_step=30),
}  # fmt: skip
