"""The workflow on the demo model: the same prompt and noise, without and with the layout."""

from itertools import pairwise
from typing import Any

from .parts import AMBER, BLUE, GREEN, PROMPT_LINKS, VIOLET, Graph, Link, apply_residuals, column, group, node, note

NOTE = """
## Demo: press Run

Two subjects, each where it was painted, on a **miniature Stable Diffusion that comes with this pack**. Nothing to
download or to copy; it takes some seconds on a CPU.

**What you see**: four pictures of the same prompt and the same noise, **without** and **with** layout guidance. The
words *mug* and *dog* are turned into two subjects by residuals, which come with the pack too: a purple mug with
yellow stripes, and a blue dog with white ones.

**Try this**

- **Move a region**: change *x* and *y* of *Put it there*, or paint a layout of your own and connect *Load Image* to
  *Which color is which subject*.
- **Other subjects**: choose another file in *Your first subject*, write its word (house, flower, ball, star, tree or
  fish) into *subject*, into the prompt and into the color table.
- **Remove a residual** by *strength* 0, and **the guidance** by *guidance_weight* 0.

**What it is not**: a model for making pictures. It is 64 pixels wide and knows eight things, six colors, stripes and
six places ("on the beach", "in the forest", "in the snow", "in the desert", "at night", "on the grass"). It mixes
colors up now and then, as small models do; the method is the same as on the large ones.

**With a real model**: open *two_subjects_color_layout*.
"""

PROMPT = "a photo of a mug and a dog on the beach"
SIDE = 512  # of the painted layout
SUBJECTS = {
    # color, left edge, file of the residual
    "mug": (0x8040C0, 24, "demo/purple_yellow_mug.safetensors"),
    "dog": (0xFF0000, 268, "demo/blue_white_dog.safetensors"),
}
SAMPLING = {
    "seed": 4, "control_after_generate": "fixed", "steps": 16, "cfg": 4.0, "sampler_name": "euler",
    "scheduler": "normal",
}  # fmt: skip


def load_residual(number: str, subject: str) -> dict[str, Any]:
    file = SUBJECTS[subject][2]
    return node(subject, "Cones2LoadResidual", f"Your {number} subject", file=file, subject=subject)


def painted(subject: str) -> list[dict[str, Any]]:
    """A rectangle of the subject's color, and its place on the canvas."""
    color, left, _ = SUBJECTS[subject]
    return [
        node(
            f"{subject}_color", "EmptyImage", f"Region of the {subject}", width=220, height=360, batch_size=1,
            color=color,
        ),
        node(f"{subject}_place", "ImageCompositeMasked", f"Put it there ({subject})", x=left, y=76),
    ]  # fmt: skip


def painted_links() -> list[Link]:
    """The canvas goes through one composite after the other."""
    stages = ["canvas", *(f"{subject}_place" for subject in SUBJECTS)]
    links = [(before, "IMAGE", after, "destination") for before, after in pairwise(stages)]
    links += [(f"{subject}_color", "IMAGE", f"{subject}_place", "source") for subject in SUBJECTS]
    return [*links, (stages[-1], "IMAGE", "layout", "image")]


def shown(key: str, title: str) -> list[dict[str, Any]]:
    """Decoded and enlarged pictures of a sampler."""
    return [
        node(f"{key}_decode", "VAEDecode"),
        node(f"{key}_large", "ImageScaleBy", "Enlarge", upscale_method="lanczos", scale_by=8.0),
        node(f"{key}_shown", "PreviewImage", title, 640),
    ]


def shown_links(key: str, latent: str) -> list[Link]:
    return [
        (key, latent, f"{key}_decode", "samples"),
        ("model", "VAE", f"{key}_decode", "vae"),
        (f"{key}_decode", "IMAGE", f"{key}_large", "image"),
        (f"{key}_large", "IMAGE", f"{key}_shown", "images"),
    ]


def sampled_links(key: str) -> list[Link]:
    """Both samplers get the same."""
    return [
        ("model", "MODEL", key, "model"),
        ("subjects", "conditioning", key, "positive"),
        ("negative", "CONDITIONING", key, "negative"),
        ("latent", "LATENT", key, "latent_image"),
    ]


DEMO = Graph(
    columns=[
        column(460, group("", "", note(NOTE, 720))),
        column(
            400,
            group(
                "1 · Model and prompt",
                BLUE,
                node("model", "Cones2LoadDemoModel", "The demo model"),
                node("prompt", "Cones2TextEncode", "Prompt", 110, "green", text=PROMPT),
                node("negative", "CLIPTextEncode", "Negative prompt: empty", 90, "red", text=""),
            ),
            group(
                "2 · Your subjects",
                VIOLET,
                load_residual("first", "mug"),
                load_residual("second", "dog"),
                node("subjects", "Cones2ApplyResidualToConditioning", "Put the subjects into the prompt", 180),
            ),
        ),
        column(
            400,
            group(
                "3 · Where they belong",
                AMBER,
                node("canvas", "EmptyImage", "White canvas", width=SIDE, height=SIDE, batch_size=1, color=0xFFFFFF),
                *(item for subject in SUBJECTS for item in painted(subject)),
            ),
        ),
        column(
            400,
            group(
                "4 · The layout",
                AMBER,
                node(
                    "layout", "Cones2ColorLayoutToMasks", "Which color is which subject", 160,
                    colors="128,64,192 = mug\n255,0,0 = dog",
                ),
                node("understood", "PreviewImage", "How the layout was read", 300),
            ),
        ),
        column(
            400,
            group(
                "5 · Sampling, twice",
                GREEN,
                node("latent", "EmptyLatentImage", "Size: 64 pixels", width=64, height=64, batch_size=4),
                node("plain", "KSampler", "Without guidance: the stock KSampler", **SAMPLING),
                node("guided", "Cones2LayoutGuidedKSampler", "With guidance", **SAMPLING),
            ),
        ),
        column(620, group("6 · Without guidance", GREEN, *shown("plain", "Without guidance"))),
        column(620, group("7 · With guidance", GREEN, *shown("guided", "With guidance"))),
    ],
    links=[
        *PROMPT_LINKS,
        *apply_residuals(*SUBJECTS),
        *painted_links(),
        ("layout", "preview", "understood", "images"),
        ("layout", "layout", "guided", "layout"),
        *sampled_links("plain"),
        *sampled_links("guided"),
        *shown_links("plain", "LATENT"),
        *shown_links("guided", "latent"),
    ],
)  # fmt: skip
