"""Text nodes: encode a prompt that knows its tokens, and add subjects to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..cones2.concepts.residual import Residual
from .host.conditioning import Conditioning, place_residuals
from .host.scene import encode
from .host.sockets import CATEGORY, ResidualSocket

if TYPE_CHECKING:
    from comfy.sd import CLIP


class Cones2TextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2TextEncode",
            display_name="Text Encode (Cones 2)",
            category=CATEGORY,
            description="Encodes a prompt exactly like CLIP Text Encode, and lets the conditioning remember where "
            "its words are.",
            search_aliases=["prompt", "clip text encode", "positive prompt"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder of an SD 1.x, SD 2.x or SDXL model or of a diffusion transformer.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip='The prompt. Name every subject in it: "a dog and a mug on the beach". Weights such as '
                    "(dog:1.2) and embedding:name work.",
                ),
            ],
            outputs=[io.Conditioning.Output("conditioning", tooltip="The encoded prompt; it carries its tokens.")],
        )

    @classmethod
    def execute(cls, clip: CLIP | None, text: str) -> io.NodeOutput:
        return io.NodeOutput(encode(clip, text))


class Cones2ApplyResidualToConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            ResidualSocket.Input("residual", tooltip="A subject; its phrase must occur in the prompt."),
            prefix="residual",
            min=1,
            max=16,
        )
        return io.Schema(
            node_id="Cones2ApplyResidualToConditioning",
            display_name="Apply Residual to Conditioning (Cones 2)",
            category=CATEGORY,
            description="Turns words of the prompt into your subjects. Use it on the positive prompt only.",
            search_aliases=[
                "apply concept",
                "inject subject",
                "residual token embedding",
                "several subjects",
                "multiple characters",
            ],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="The positive prompt, best from Text Encode (Cones 2)."),
                io.Autogrow.Input(
                    "residuals", template=template, tooltip="The subjects: a new input appears as you connect."
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Only for a conditioning from another text node: the CLIP it was encoded with.",
                ),
                io.String.Input(
                    "text",
                    optional=True,
                    multiline=True,
                    default="",
                    tooltip="Only for a conditioning from another text node: the text it was encoded from.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "subject_conditioning", display_name="conditioning", tooltip="The prompt with the subjects in it."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        conditioning: Conditioning,
        residuals: dict[str, tuple[Residual, ...]],
        clip: CLIP | None = None,
        text: str = "",
    ) -> io.NodeOutput:
        subjects = [residual for group in residuals.values() if group is not None for residual in group]
        return io.NodeOutput(place_residuals(conditioning, subjects, clip, text))


NODES = [Cones2TextEncode, Cones2ApplyResidualToConditioning]
