"""Layout nodes: where each subject belongs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.errors import LayoutError
from ..cones2.layout.colors import DEFAULT_TOLERANCE
from ..cones2.layout.drawing import layout_picture
from ..cones2.layout.painted import check_color_table, layout_from_colors
from ..cones2.layout.regions import layout_from_boxes, layout_from_masks
from ..cones2.layout.tables import parse_color_lines, parse_subject_lines
from ..cones2.ranges import COLOR_TOLERANCE
from .host.boxes import layout_from_elements, to_boxes, to_elements
from .host.drawn_layout import layout_masks
from .host.images import to_image, to_masks, to_picture
from .host.sockets import CATEGORY, BoxSocket, ElementSocket, LayoutSocket
from .inputs import check_table, region_weight_input, subjects_input


class Cones2ColorLayoutToMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2ColorLayoutToMasks",
            display_name="Color Layout to Masks (Cones 2)",
            category=CATEGORY,
            description="Reads a painted layout: every color is the place of one subject.",
            search_aliases=[
                "color mask",
                "regional prompt",
                "layout",
                "segmentation map",
                "paint",
                "place",
                "area",
                "position",
            ],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The painted layout; its size need not be the size of the final picture."
                ),
                io.String.Input(
                    "colors",
                    multiline=True,
                    default="255,0,0 = dog\n255,192,0 = mug",
                    tooltip='One "color = subject" per line. '
                    'Colors: "255,0,0", "#f00", "#ff0000" or names such as red. '
                    '"red = dog#2" is the second dog of the prompt; "red = dog @ 3" gives it its own weight.',
                ),
                io.Float.Input(
                    "tolerance",
                    default=DEFAULT_TOLERANCE,
                    min=COLOR_TOLERANCE.low,
                    max=COLOR_TOLERANCE.high,
                    step=1.0,
                    tooltip="How far (RGB distance) a pixel may be from a color of the table. 0 is exact; more "
                    "forgives JPEG and soft edges.",
                ),
                region_weight_input(),
            ],
            outputs=[
                LayoutSocket.Output("layout", tooltip="Which subject belongs where."),
                io.Mask.Output("masks", tooltip="One mask per line of the table, in its order."),
                io.Image.Output("preview", tooltip="The layout as it was understood, with names."),
            ],
        )

    @classmethod
    def validate_inputs(cls, colors: str | None = None) -> bool | str:
        """True when `colors` is a table or comes from another node (None), else what is wrong with it."""
        return check_table(colors, lambda text: check_color_table(parse_color_lines(text)))

    @classmethod
    def execute(cls, image: Tensor, colors: str, tolerance: float, weight: float) -> io.NodeOutput:
        table = parse_color_lines(colors, weight)
        layout = layout_from_colors(to_picture(image, "the layout picture"), table, tolerance)
        preview = to_image([layout_picture(layout, layout.height, layout.width)])
        return io.NodeOutput(layout, layout_masks(layout), preview)


class Cones2LayoutFromMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            io.Mask.Input("mask", tooltip="The place of a subject; of a batch, each mask is one place."),
            prefix="mask",
            min=1,
            max=16,
        )
        return io.Schema(
            node_id="Cones2LayoutFromMasks",
            display_name="Layout from Masks (Cones 2)",
            category=CATEGORY,
            description="Makes a layout from masks, one per subject.",
            search_aliases=["regional prompt", "mask to layout", "segment", "mask region", "area", "place", "position"],
            inputs=[
                io.Autogrow.Input(
                    "masks",
                    template=template,
                    tooltip="Masks in the order of the subjects: a new input appears as you connect.",
                ),
                subjects_input("masks"),
                region_weight_input(),
            ],
            outputs=[LayoutSocket.Output("layout", tooltip="Which subject belongs where.")],
        )

    @classmethod
    def validate_inputs(cls, subjects: str | None = None, masks: object = None) -> bool | str:
        """True when `subjects` is a list or comes from another node (None), else what is wrong with it.

        masks: ComfyUI always passes an input that grows.
        """
        return check_table(subjects, parse_subject_lines)

    @classmethod
    def execute(cls, masks: dict[str, Tensor], subjects: str, weight: float) -> io.NodeOutput:
        groups = {name: group for name, group in masks.items() if group is not None}
        flat = [mask for name, group in groups.items() for mask in to_masks(group, name)]
        lines = parse_subject_lines(subjects, weight)
        return io.NodeOutput(layout_from_masks(flat, [line.subject for line in lines], [line.weight for line in lines]))


class Cones2LayoutFromBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LayoutFromBoxes",
            display_name="Layout from Boxes (Cones 2)",
            category=CATEGORY,
            description="Makes a layout from bounding boxes, one per subject.",
            search_aliases=["regional prompt", "bounding box", "bbox", "gligen", "area", "place", "position"],
            inputs=[
                BoxSocket.Input(
                    "boxes",
                    optional=True,
                    tooltip="Boxes in pixels, such as those of a detector: one box or a list. Create Bounding Boxes "
                    "is better connected to elements.",
                    extra_dict={"forceInput": True},
                ),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=1,
                    max=16384,
                    tooltip="Width of the canvas the boxes were drawn on, in pixels.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    min=1,
                    max=16384,
                    tooltip="Height of the canvas the boxes were drawn on, in pixels.",
                ),
                subjects_input("boxes"),
                region_weight_input(),
                ElementSocket.Input(
                    "elements",
                    optional=True,
                    tooltip="Boxes with names and colors, from Create Bounding Boxes: the description of a box is its "
                    "subject. They count instead of boxes; of width and height only the proportions matter.",
                    extra_dict={"forceInput": True},
                ),
            ],
            outputs=[LayoutSocket.Output("layout", tooltip="Which subject belongs where.")],
        )

    @classmethod
    def validate_inputs(cls, subjects: str | None = None) -> bool | str:
        """True when `subjects` is a list or comes from another node (None), else what is wrong with it."""
        return check_table(subjects, parse_subject_lines)

    @classmethod
    def execute(
        cls, width: int, height: int, subjects: str, weight: float, boxes: Any = None, elements: Any = None
    ) -> io.NodeOutput:
        lines = parse_subject_lines(subjects, weight)
        if elements is not None:
            return io.NodeOutput(layout_from_elements(to_elements(elements), lines, height, width, weight))
        if boxes is None:
            raise LayoutError("nothing is drawn: connect elements of Create Bounding Boxes, or boxes")
        names, weights = [line.subject for line in lines], [line.weight for line in lines]
        return io.NodeOutput(layout_from_boxes(to_boxes(boxes), names, height, width, weights=weights))


NODES = [Cones2ColorLayoutToMasks, Cones2LayoutFromMasks, Cones2LayoutFromBoxes]
