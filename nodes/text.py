"""Text nodes: encode a prompt that knows its tokens, and add subjects to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.concepts.fingerprint import from_other_encoder
from ..cones2.concepts.residual import Residual, add_residuals, check_width
from ..cones2.errors import PromptError
from ..cones2.prompt.tokens import locate_subjects
from .host.prompt_record import (
    PROMPT_KEY,
    Placed,
    PromptRecord,
    check_known,
    knows,
    prompt_record,
    read_prompt,
    usual_layer,
)
from .host.sockets import CATEGORY, ResidualSocket

log = logging.getLogger(__name__)

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
                io.Clip.Input("clip", tooltip="The text encoder of an SD 1.x, SD 2.x or SDXL model."),
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
    def execute(cls, clip: Any, text: str) -> io.NodeOutput:
        if clip is None:
            raise PromptError(
                "the CLIP input is empty: the checkpoint holds no text encoder, so load one with a CLIP loader"
            )
        record, tokens = read_prompt(clip, text)
        return io.NodeOutput(clip.encode_from_tokens_scheduled(tokens, add_dict={PROMPT_KEY: record}))


class Cones2ApplyResidualToConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            ResidualSocket.Input("residual", tooltip="A subject; its phrase must stand in the prompt."),
            prefix="residual",
            min=1,
            max=16,
        )
        return io.Schema(
            node_id="Cones2ApplyResidualToConditioning",
            display_name="Apply Residual to Conditioning (Cones 2)",
            category=CATEGORY,
            description="Turns words of the prompt into your subjects. Use it on the positive prompt only.",
            search_aliases=["apply concept", "inject subject", "residual token embedding"],
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
        cls, conditioning: list[Entry], residuals: dict[str, tuple[Residual, ...]], clip: Any = None, text: str = ""
    ) -> io.NodeOutput:
        wanted = [residual for group in residuals.values() if group is not None for residual in group]
        records = [_record(cond, options, clip, text) for cond, options in conditioning]
        check_known(records, [residual.subject for residual in wanted])
        return io.NodeOutput(
            [
                _apply(cond, options, record, [residual for residual in wanted if knows(record, residual.subject)])
                for (cond, options), record in zip(conditioning, records, strict=True)
            ]
        )


NODES = [Cones2TextEncode, Cones2ApplyResidualToConditioning]
