"""What the descriptions of workflows are made of: columns of groups of nodes, and links by name.

Widgets and slots are named, so that a node that gains an input needs no change here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SD15_NAME = "v1-5-pruned-emaonly-fp16.safetensors"
SD15_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{SD15_NAME}"
BACKGROUND_NAME = "birefnet.safetensors"
BACKGROUND_URL = f"https://huggingface.co/Comfy-Org/BiRefNet/resolve/main/background_removal/{BACKGROUND_NAME}"
BYPASSED = 4
DEMO_SIDE = 64
Link = tuple[str, str, str, str]  # from node, output, to node, input
Box = tuple[float, float, float, float]  # left, top, width, height


@dataclass(frozen=True)
class Graph:
    """One workflow file.

    app: the widgets that the app view shows, as (node, widget, label, what is written below it), and the nodes whose
        pictures it shows.
    """

    columns: list[dict[str, Any]]
    links: list[Link]
    app: dict[str, Any] = field(default_factory=dict)


def node(key: str, type_: str, title: str = "", tall: int = 0, color: str = "", /, **widgets: Any) -> dict[str, Any]:
    """A node; `tall` is its least height in pixels."""
    return {"key": key, "type": type_, "title": title, "tall": tall, "color": color, "widgets": widgets}


def bypassed(node: dict[str, Any]) -> dict[str, Any]:
    """The node as it stands aside: the graph runs without it."""
    return node | {"mode": BYPASSED}


def needing(node: dict[str, Any], name: str, url: str, directory: str) -> dict[str, Any]:
    """The node with a model file that the frontend offers to download."""
    return node | {"properties": {"models": [{"name": name, "url": url, "directory": directory}]}}


def note(text: str) -> dict[str, Any]:
    return node("note", "MarkdownNote", "Read me", 200, "pale_blue", text=text.strip())


def column(width: int, *nodes: dict[str, Any]) -> dict[str, Any]:
    """Nodes below each other, all `width` pixels wide."""
    return {"width": width, "nodes": list(nodes)}


def subgraph(
    key: str,
    title: str,
    columns: Sequence[dict[str, Any]],
    promoted: Sequence[tuple[str, str, str]] = (),
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Nodes in one. Links to and from nodes inside are written as ever.

    promoted: (node, widget, label) of the widgets that its node shows.
    labels: names of its slots, by the names that they would have.
    """
    return node(key, "", title) | {"inside": list(columns), "promoted": list(promoted), "labels": labels or {}}


def checkpoint() -> dict[str, Any]:
    loader = node("model", "CheckpointLoaderSimple", ckpt_name=SD15_NAME)
    return needing(loader, SD15_NAME, SD15_URL, "checkpoints")


def demo_model() -> dict[str, Any]:
    return node("model", "Cones2LoadDemoModel")


@dataclass(frozen=True)
class Placed:
    """A subject of a scene: its word, where it belongs in fractions of the picture, its residual if it has one."""

    word: str
    box: Box
    residual: str = ""
    color: str = ""
    shape: str = "box"


def document(subjects: Sequence[Placed]) -> str:
    """The layout document of subjects, as the painter writes it."""
    entries = []
    for subject in subjects:
        entry: dict[str, Any] = {"name": subject.word, "color": subject.color, "weight": 2.5}
        if subject.residual:
            entry |= {"residual": subject.residual, "strength": 1}
        entries.append(entry | {"shapes": [{subject.shape: [round(side, 4) for side in subject.box]}]})
    return json.dumps({"version": 1, "subjects": entries}, separators=(",", ":"))


def scene(prompt: str, subjects: Sequence[Placed], side: int, count: int = 1, negative: str = "") -> dict[str, Any]:
    return node(
        "scene", "Cones2Scene", prompt=prompt, negative_prompt=negative, width=side, height=side, batch_size=count,
        layout_document=document(subjects),
    )  # fmt: skip


def sampler(key: str = "sampler", title: str = "", /, **widgets: Any) -> dict[str, Any]:
    given = {"seed": 0, "control_after_generate": "fixed", "sampler_name": "euler", "scheduler": "normal"}
    return node(key, "Cones2LayoutGuidedKSampler", title, **(given | widgets))


DEMO_SAMPLING = {"steps": 16, "cfg": 4.0}
SD_SAMPLING = {"steps": 30, "cfg": 7.5}


def enlarge() -> dict[str, Any]:
    """The demo model's pictures as large as one can see."""
    return node("large", "ImageScaleBy", upscale_method="lanczos", scale_by=8.0)


def save(name: str) -> dict[str, Any]:
    return node("save", "SaveImage", "", 560, filename_prefix=f"cones2/{name}")


def decoded(name: str, large: bool = False) -> list[dict[str, Any]]:
    """Columns from the sampler to the file; side by side, so that no link runs backwards."""
    larger = [column(240, enlarge())] if large else []
    return [column(240, node("decode", "VAEDecode")), *larger, column(500, save(name))]


SCENE_LINKS: list[Link] = [
    ("model", "CLIP", "scene", "clip"),
    ("model", "MODEL", "sampler", "model"),
    ("scene", "positive", "sampler", "positive"),
    ("scene", "negative", "sampler", "negative"),
    ("scene", "latent", "sampler", "latent_image"),
    ("sampler", "latent", "decode", "samples"),
    ("model", "VAE", "decode", "vae"),
]
SAVE_LINKS: list[Link] = [("decode", "IMAGE", "save", "images")]
LARGE_LINKS: list[Link] = [("decode", "IMAGE", "large", "image"), ("large", "IMAGE", "save", "images")]
