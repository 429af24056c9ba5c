"""What the descriptions of workflows are made of: columns of groups of nodes, and links by name.

Widgets and slots are named, so that a node that gains an input needs no change here.
"""

from dataclasses import dataclass
from typing import Any

BLUE, GREEN, AMBER, VIOLET = "#3f789e", "#4a7a5a", "#a1743a", "#6f5a91"
SD15_NAME = "v1-5-pruned-emaonly-fp16.safetensors"
SD21_NAME = "v2-1_768-ema-pruned.safetensors"
SD15_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{SD15_NAME}"
Link = tuple[str, str, str, str]  # from node, output, to node, input


@dataclass(frozen=True)
class Graph:
    """One workflow file."""

    columns: list[dict[str, Any]]
    links: list[Link]


def node(key: str, type_: str, title: str = "", tall: int = 0, color: str = "", /, **widgets: Any) -> dict[str, Any]:
    """A node; `tall` is its least height in pixels."""
    return {"key": key, "type": type_, "title": title, "tall": tall, "color": color, "widgets": widgets}


def note(text: str, tall: int) -> dict[str, Any]:
    return node("note", "MarkdownNote", "Read me", tall, "pale_blue", text=text.strip())


def group(title: str, color: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    """Nodes below each other, in a frame when there is a title."""
    return {"title": title, "color": color, "nodes": list(nodes)}


def column(width: int, *groups: dict[str, Any]) -> dict[str, Any]:
    """Groups below each other, all `width` pixels wide."""
    return {"width": width, "groups": list(groups)}


def checkpoint(name: str, url: str = "") -> dict[str, Any]:
    """A checkpoint loader; with a url the frontend offers to download a missing file."""
    models = [{"name": name, "url": url, "directory": "checkpoints"}] if url else []
    return node("model", "CheckpointLoaderSimple", ckpt_name=name) | {"properties": {"models": models}}


def prompts(positive: str) -> list[dict[str, Any]]:
    """The encoders of both prompts; an empty positive one is fed by a link."""
    # the text is always set: a new node may show that of the node before it
    return [
        node("prompt", "Cones2TextEncode", "Prompt", 130 if positive else 90, "green", text=positive),
        node("negative", "CLIPTextEncode", "Negative prompt", 110, "red", text="blurry, low quality, deformed"),
    ]


def residual(subject: str) -> dict[str, Any]:
    return node(subject, "Cones2LoadResidual", f"Your {subject}", file=f"{subject}.safetensors", subject=subject)


def apply_residuals(*subjects: str) -> list[Link]:
    """Links from each subject's loader to the next input of `subjects`."""
    return [(subject, "residual", "subjects", f"residuals.residual{i}") for i, subject in enumerate(subjects)]


def save(name: str) -> dict[str, Any]:
    return node("save", "SaveImage", "Picture", 640, filename_prefix=f"cones2/{name}")


PROMPT_LINKS: list[Link] = [
    ("model", "CLIP", "prompt", "clip"),
    ("model", "CLIP", "negative", "clip"),
    ("prompt", "conditioning", "subjects", "conditioning"),
]
DECODE_LINKS: list[Link] = [
    ("model", "VAE", "decode", "vae"),
    ("decode", "IMAGE", "save", "images"),
]
