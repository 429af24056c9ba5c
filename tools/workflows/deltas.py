"""The template of concepts that were trained with Custom Diffusion: `7 Two trained concepts`."""

from typing import Any

from .parts import (
    DEMO_SAMPLING,
    DEMO_SIDE,
    LARGE_LINKS,
    Graph,
    column,
    decoded,
    demo_model,
    document,
    node,
    note,
    sampler,
    subgraph,
)
from .scenes import CONCEPTS

NOTE = """
## Two concepts, trained with Custom Diffusion

A concept of this kind is a file with new keys and values of the model and a word of its own: *&lt;new1&gt; ball* is one
green and purple ball, *&lt;new2&gt; fish* one red and yellow fish. Press **Run**: nothing to download.

1. **Layout Painter**: drag the regions and run again. A region's name is the concept's word and its class.
2. **Two concepts** is a subgraph, with the prompt in it: open it by the button in its corner. Each *Load* is followed
   by an *Apply*, whose *layout* keeps the concept to its own region; without it all concepts act everywhere and mix.
   Both files call their word &lt;new1&gt;; the second one becomes &lt;new2&gt;.
3. **Your own**: put a delta.bin, .ckpt or .safetensors into **models/custom_diffusion**, or train one with *Train
   Custom Diffusion*, and load your checkpoint.
"""


def _load(key: str, file: str) -> dict[str, Any]:
    return node(key, "Cones2LoadCustomDiffusion", file=f"demo/{file}.safetensors")


CONCEPT_NODES = subgraph(
    "concepts",
    "Two concepts",
    [
        column(340, _load("first", "green_purple_ball"), _load("second", "red_yellow_fish")),
        column(340, node("one", "Cones2ApplyCustomDiffusion")),
        column(340, node("two", "Cones2ApplyCustomDiffusion")),
        column(
            400, node("prompt", "Cones2TextEncode", text=CONCEPTS.prompt), node("negative", "CLIPTextEncode", text="")
        ),
        column(300, node("latent", "EmptyLatentImage", width=DEMO_SIDE, height=DEMO_SIDE, batch_size=4)),
    ],
    promoted=[("first", "file", "first"), ("second", "file", "second")],
    labels={"conditioning": "positive", "CONDITIONING": "negative", "LATENT": "latent"},
)

TWO_CONCEPTS = Graph(
    columns=[
        column(400, demo_model(), note(NOTE)),
        column(
            440,
            node(
                "painter", "Cones2LayoutPainter", width=DEMO_SIDE, height=DEMO_SIDE,
                layout_document=document(CONCEPTS.subjects),
            ),
        ),
        column(340, CONCEPT_NODES),
        column(340, sampler(**DEMO_SAMPLING)),
        *decoded("two_concepts", large=True),
    ],
    links=[
        ("model", "MODEL", "one", "model"),
        ("model", "CLIP", "one", "clip"),
        ("first", "delta", "one", "delta"),
        ("painter", "layout", "one", "layout"),
        ("one", "model", "two", "model"),
        ("one", "clip", "two", "clip"),
        ("second", "delta", "two", "delta"),
        ("painter", "layout", "two", "layout"),
        ("two", "clip", "prompt", "clip"),
        ("two", "clip", "negative", "clip"),
        ("two", "model", "sampler", "model"),
        ("prompt", "conditioning", "sampler", "positive"),
        ("negative", "CONDITIONING", "sampler", "negative"),
        ("latent", "LATENT", "sampler", "latent_image"),
        ("painter", "layout", "sampler", "layout"),
        ("sampler", "latent", "decode", "samples"),
        ("model", "VAE", "decode", "vae"),
        *LARGE_LINKS,
    ],
)  # fmt: skip
