"""Draw a layout in the node."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cones2.concepts.residual import Residual
from .host.drawn_layout import (
    background_shown,
    document_with,
    layout_masks,
    layout_preview,
    linked_residuals,
    wrong_document,
)
from .host.sockets import CATEGORY, LayoutSocket
from .inputs import PLACING, layout_document_input, linked_residuals_input, side_input


class Cones2LayoutPainter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LayoutPainter",
            display_name="Layout Painter (Cones 2)",
            category=CATEGORY,
            description="Draw where each subject belongs: boxes, ellipses and brush strokes, one color per subject.",
            search_aliases=["draw regions", "mask region", "bounding box", *PLACING],
            inputs=[
                io.Image.Input(
                    "image", optional=True, tooltip="A picture to draw on. It is shown behind the regions, no more."
                ),
                linked_residuals_input("Subjects to place; they stand side by side until you draw."),
                side_input("width", "the picture to be made"),
                side_input("height", "the picture to be made"),
                layout_document_input(),
            ],
            outputs=[
                LayoutSocket.Output("layout", tooltip="Which subject belongs where."),
                io.Mask.Output("masks", tooltip="One mask per subject that has a region, in their order."),
                io.Image.Output("preview", tooltip="The layout with names."),
                io.Int.Output("picture_width", display_name="width", tooltip="For Empty Latent Image."),
                io.Int.Output("picture_height", display_name="height", tooltip="For Empty Latent Image."),
            ],
        )

    @classmethod
    def validate_inputs(cls, layout_document: str | None = None, residuals: object = None) -> bool | str:
        """True for a document that can be read or comes from another node (None), else the message."""
        return wrong_document(layout_document) or True

    @classmethod
    def execute(
        cls,
        width: int,
        height: int,
        layout_document: str,
        image: Tensor | None = None,
        residuals: dict[str, tuple[Residual, ...]] | None = None,
    ) -> io.NodeOutput:
        layout = document_with(layout_document, linked_residuals(residuals)).layout(height, width)
        pictures = layout_masks(layout), layout_preview(layout)
        return io.NodeOutput(layout, *pictures, width, height, ui=background_shown(image))


NODES = [Cones2LayoutPainter]
