"""Subjects from pictures, without training: the pictures, an image adapter, and the model that sees them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.concepts.pictured import Pictured, PicturedSubject
from ..cones2.errors import AdapterError
from ..cones2.layout.regions import Layout
from ..cones2.picture_adapter.adapter_file import adapter_of, read_adapter_weights
from ..cones2.prompt.claims import parse_phrase
from ..cones2.ranges import REFERENCE_EDGE, REFERENCE_OUTSIDE, REFERENCE_SCALE, REFERENCE_STRENGTH
from .host.adapter_folder import adapter_files, find_adapter, missing_adapter
from .host.attention.pictures import install_pictures
from .host.bound_layout import Window
from .host.drawn_layout import linked_residuals
from .host.folders import file_stamp
from .host.images import to_references
from .host.picture_adapter import references_for, shares_for
from .host.sockets import CATEGORY, AdapterSocket, ResidualSocket
from .inputs import ADVANCED, check_numbers, layout_input

if TYPE_CHECKING:
    from comfy.clip_vision import ClipVisionModel
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP

log = logging.getLogger(__name__)

_SEARCHED = [
    "reference image",
    "image prompt",
    "IP-Adapter",
    "IPAdapter",
    "MIP-Adapter",
    "multi subject",
    "no training",
]


class Cones2SubjectFromPictures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SubjectFromPictures",
            display_name="Subject from Pictures (Cones 2)",
            category=CATEGORY,
            description="A subject that nobody trained: a word of the prompt and pictures of what it means. "
            "Connect it to Apply MIP-Adapter.",
            search_aliases=_SEARCHED,
            inputs=[
                io.Image.Input(
                    "image", tooltip="One picture of the subject, or several of the same one as a batch (up to 16)."
                ),
                io.String.Input(
                    "subject",
                    display_name="word of the prompt",
                    default="",
                    tooltip='The word or phrase of the prompt that the pictures show, such as "cat"; '
                    '"cat#2" is the second cat.',
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=REFERENCE_STRENGTH.low,
                    max=REFERENCE_STRENGTH.high,
                    step=0.05,
                    tooltip="How strongly this subject's pictures count; 0 leaves the plain word.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the subject is in the pictures (white). The rest becomes white; without it the "
                    "whole picture counts.",
                ),
            ],
            outputs=[ResidualSocket.Output("residual", display_name="subject", tooltip="The subject.")],
        )

    @classmethod
    def execute(cls, image: Tensor, subject: str, strength: float, mask: Tensor | None = None) -> io.NodeOutput:
        check_numbers(strength=strength)
        return io.NodeOutput((PicturedSubject(parse_phrase(subject), to_references(image, mask), strength),))


class Cones2LoadMIPAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LoadMIPAdapter",
            display_name="Load MIP-Adapter (Cones 2)",
            category=CATEGORY,
            description="Loads a MIP-Adapter or IP-Adapter from models/ipadapter and says what it lacks.",
            search_aliases=["load ipadapter", *_SEARCHED],
            inputs=[
                io.Combo.Input(
                    "file",
                    display_name="adapter file",
                    options=adapter_files(),
                    tooltip="A .bin or .safetensors file in models/ipadapter, such as model_sdxl.bin.",
                )
            ],
            outputs=[
                AdapterSocket.Output("ipadapter", tooltip="The adapter, as IPAdapter nodes of other packs take it.")
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        """True when `file` exists or comes from another node (None), else the message."""
        return True if file is None or find_adapter(file) else missing_adapter(file)

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **_: Any) -> tuple[str, int, int] | None:
        path = find_adapter(file)
        return None if path is None else file_stamp(path)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        path = find_adapter(file)
        if path is None:
            raise AdapterError(missing_adapter(file))
        weights = read_adapter_weights(path)
        adapter_of(weights)  # what it lacks is said here
        return io.NodeOutput(weights)


class Cones2ApplyMIPAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            ResidualSocket.Input("subject", tooltip="A subject with pictures; its word must occur in the prompt."),
            prefix="subject",
            min=1,
            max=16,
        )
        return io.Schema(
            node_id="Cones2ApplyMIPAdapter",
            display_name="Apply MIP-Adapter (Cones 2)",
            category=CATEGORY,
            description="Shows the model pictures of its subjects, any number of them, each where its word attends or "
            "where a layout puts it. No training.",
            search_aliases=["apply ipadapter", "regional ipadapter", *_SEARCHED],
            inputs=[
                io.Model.Input(
                    "model", tooltip="An SDXL, SD 1.x or SD 2.x model, with or without LoRAs and other patches."
                ),
                io.Clip.Input("clip", tooltip="The text encoder of this model. It encodes the subjects' words."),
                AdapterSocket.Input(
                    "ipadapter", tooltip="From Load MIP-Adapter or any IPAdapter loader; made for this kind of model."
                ),
                io.Autogrow.Input(
                    "subjects", template=template, tooltip="The subjects: a new input appears as you connect."
                ),
                io.Float.Input(
                    "scale",
                    default=0.75,
                    min=REFERENCE_SCALE.low,
                    max=REFERENCE_SCALE.high,
                    step=0.05,
                    tooltip="How strongly all pictures count: 0.75 published, 0.65 for plus adapters; 0 turns it off.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the noise schedule the pictures start to count (0 is pure noise).",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the noise schedule the pictures stop counting (1 is the finished picture).",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder that the adapter was made with: ViT-bigG for model_sdxl, ViT-H for "
                    "model_sdxl_plus. A unified loader brings its own.",
                ),
                layout_input("Each subject's pictures count in its region only.", optional=True),
                io.Float.Input(
                    "edge",
                    display_name="soft edge",
                    default=0.0,
                    min=REFERENCE_EDGE.low,
                    max=REFERENCE_EDGE.high,
                    step=0.01,
                    optional=True,
                    tooltip="With a layout: width of the soft border of each region, as a share of the picture's "
                    "shorter side.",
                    extra_dict=ADVANCED,
                ),
                io.Float.Input(
                    "outside",
                    display_name="share outside",
                    default=0.0,
                    min=REFERENCE_OUTSIDE.low,
                    max=REFERENCE_OUTSIDE.high,
                    step=0.05,
                    optional=True,
                    tooltip="With a layout: how much a subject's pictures count outside its region. 0 keeps them in, "
                    "1 is as without a layout.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[
                io.Model.Output(
                    "adapted_model", display_name="model", tooltip="The model that sees the subjects' pictures."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        ipadapter: object,
        subjects: dict[str, tuple[Pictured, ...] | None],
        scale: float,
        start_percent: float,
        end_percent: float,
        clip_vision: ClipVisionModel | None = None,
        layout: Layout | None = None,
        edge: float = 0.0,
        outside: float = 0.0,
    ) -> io.NodeOutput:
        check_numbers(scale=scale, start_percent=start_percent, end_percent=end_percent, edge=edge, outside=outside)
        linked = linked_residuals(subjects)
        shares = shares_for(layout, linked, edge, outside)
        references = references_for(model, clip, ipadapter, clip_vision, linked, scale, shares)
        return io.NodeOutput(install_pictures(model, references, Window(start_percent, end_percent)))


NODES = [Cones2SubjectFromPictures, Cones2LoadMIPAdapter, Cones2ApplyMIPAdapter]
