"""Prompt, subjects and places in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

import nodes as host_nodes

from ..cones2.concepts.residual import Residual
from ..cones2.layout.inline import regions_in_text
from .host.conditioning import place_residuals
from .host.drawn_layout import document_stamps, document_with, linked_residuals, residuals_of, wrong_document
from .host.scene import encode, guided_by_default
from .host.sockets import CATEGORY, LayoutSocket
from .inputs import PLACING, layout_document_input, linked_residuals_input, side_input

if TYPE_CHECKING:
    from comfy.sd import CLIP


class Cones2Scene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2Scene",
            display_name="Scene (Cones 2)",
            category=CATEGORY,
            description="What the picture shows, who is in it, and where: prompt, subjects and painted layout in one "
            "node. Connect it to Layout Guided KSampler.",
            search_aliases=["scene composer", "DreamBooth alternative", *PLACING],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder of an SD 1.x, SD 2.x or SDXL model or of a diffusion transformer.",
                ),
                linked_residuals_input("Further subjects, such as one that is being trained."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip='What the picture shows. Name every subject in it: "a dog and a mug on the beach". '
                    'It may also say where a word belongs: "a dog[region 0.5 0.3 0.4 0.6]".',
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What the picture should not show.",
                ),
                side_input("width", "the picture"),
                side_input("height", "the picture"),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many pictures are made at once."),
                layout_document_input(),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="The prompt with its subjects; it carries the layout."),
                io.Conditioning.Output("negative", tooltip="The negative prompt."),
                io.Latent.Output("latent", tooltip="Empty latents of the picture's size."),
                LayoutSocket.Output("layout", tooltip="Which subject belongs where."),
            ],
        )

    @classmethod
    def validate_inputs(cls, layout_document: str | None = None, residuals: object = None) -> bool | str:
        """True for a document whose residuals are there or that comes from another node (None), else the message."""
        return wrong_document(layout_document, needs_files=True) or True

    @classmethod
    def fingerprint_inputs(cls, layout_document: str | None = None, **_: object) -> list[tuple[str, int, int]]:
        return document_stamps(layout_document)

    @classmethod
    def execute(
        cls,
        clip: CLIP | None,
        prompt: str,
        negative_prompt: str,
        width: int,
        height: int,
        batch_size: int,
        layout_document: str,
        residuals: dict[str, tuple[Residual, ...]] | None = None,
    ) -> io.NodeOutput:
        linked = linked_residuals(residuals)
        text, placed = regions_in_text(prompt)
        document = document_with(layout_document, linked).with_regions(placed)
        layout = document.layout(height, width)
        positive = place_residuals(encode(clip, text), residuals_of(document, linked))
        (latent,) = host_nodes.EmptyLatentImage().generate(width, height, batch_size)
        return io.NodeOutput(guided_by_default(positive, layout), encode(clip, negative_prompt), latent, layout)


NODES = [Cones2Scene]
