"""Custom Diffusion: load, save, apply, merge and compress deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..cones2.custom_diffusion.compress import DEFAULT_RATIO, compress
from ..cones2.custom_diffusion.delta import Delta
from ..cones2.custom_diffusion.files import load_delta, save_delta
from ..cones2.errors import DeltaError
from ..cones2.layout.regions import Layout
from ..cones2.ranges import DELTA_STRENGTH
from .host.delta_clip import prompts_of, with_tokens
from .host.delta_folder import delta_files, delta_path, find_delta, missing_delta
from .host.delta_merge import merged
from .host.delta_model import base_weights, with_delta, with_delta_in_regions
from .host.folders import file_stamp
from .host.sockets import CATEGORY, DeltaSocket
from .inputs import check_numbers, layout_input

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP

_GROUP = f"{CATEGORY}/Custom Diffusion"
_SEARCH = ["custom diffusion", "delta.bin", "modifier token", "personalization"]


class Cones2LoadCustomDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LoadCustomDiffusion",
            display_name="Load Custom Diffusion (Cones 2)",
            category=_GROUP,
            description="Loads a concept that was trained with Custom Diffusion: delta.bin, CompVis .ckpt, compressed "
            "files, those of diffusers and our own.",
            search_aliases=["load delta", *_SEARCH],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=delta_files(),
                    tooltip="A .bin, .ckpt or .safetensors file in models/custom_diffusion. Nothing in it is executed.",
                ),
                io.String.Input(
                    "class_words",
                    default="",
                    tooltip='What each token stands for, separated by commas: "cat". Empty: as the file says. '
                    "Merging needs it.",
                ),
            ],
            outputs=[
                DeltaSocket.Output("delta", tooltip="The concept. Connect it to Apply Custom Diffusion."),
                io.String.Output("tokens", tooltip='What prompts call it, one per line: "<new1> cat".'),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        """True when `file` exists or comes from another node (None), else the message."""
        return True if file is None or find_delta(file) else missing_delta(file)

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **_: Any) -> str:
        path = find_delta(file)
        return f"{file} {file_stamp(path) if path else None}"

    @classmethod
    def execute(cls, file: str, class_words: str) -> io.NodeOutput:
        path = find_delta(file)
        if path is None:
            raise DeltaError(missing_delta(file))
        delta = load_delta(path).with_class_words([word.strip() for word in class_words.split(",")])
        return io.NodeOutput(delta, prompts_of(delta.tokens))


class Cones2SaveCustomDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SaveCustomDiffusion",
            display_name="Save Custom Diffusion (Cones 2)",
            category=_GROUP,
            description="Saves a concept to models/custom_diffusion as .safetensors, where Load Custom Diffusion "
            "finds it.",
            search_aliases=["save delta", *_SEARCH],
            inputs=[
                DeltaSocket.Input("delta", tooltip="The concept to save."),
                io.String.Input(
                    "name", default="my_concept", tooltip='File name without ending; "pets/rex" saves into a subfolder.'
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Replace a file of the same name. Off: saving over an existing file is an error.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, delta: Delta, name: str, overwrite: bool) -> io.NodeOutput:
        saved = save_delta(delta, delta_path(name), overwrite)
        return io.NodeOutput(ui=ui.PreviewText(f"Saved {saved}"))


class Cones2ApplyCustomDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2ApplyCustomDiffusion",
            display_name="Apply Custom Diffusion (Cones 2)",
            category=_GROUP,
            description="Gives the model a concept's keys and values, and the text encoder its word, so that any text "
            'node understands "photo of a <new1> cat". Several concepts can follow each other.',
            search_aliases=["apply delta", *_SEARCH],
            inputs=[
                io.Model.Input("model", tooltip="The SD 1.x, SD 2.x or SDXL model that the concept was trained on."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                DeltaSocket.Input("delta", tooltip="The concept."),
                _strength_input("strength", "How much the model's weights change. 1 is as trained, 0 not at all."),
                _strength_input("token_strength", "Factor on the concept's word in the text encoder. 1 is as trained."),
                layout_input(
                    'The concept\'s keys and values then act in its region alone, that of "<new1> cat".', optional=True
                ),
            ],
            outputs=[
                io.Model.Output("patched_model", display_name="model", tooltip="The model with the concept."),
                io.Clip.Output("patched_clip", display_name="clip", tooltip="The text encoder that knows its word."),
                io.String.Output(
                    "tokens",
                    tooltip='What prompts call it, one per line: "<new1> cat". A name that another concept has '
                    "becomes the next one, <new2>.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        delta: Delta,
        strength: float,
        token_strength: float,
        layout: Layout | None = None,
    ) -> io.NodeOutput:
        check_numbers(strength=strength, token_strength=token_strength)
        patched_clip, named = with_tokens(clip, delta, token_strength)
        if layout is None:
            patched = with_delta(model, named, strength)
        else:
            patched = with_delta_in_regions(model, named, strength, layout)
        return io.NodeOutput(patched, patched_clip, prompts_of(named.tokens))


class Cones2MergeCustomDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            DeltaSocket.Input("delta", tooltip="A concept; each needs a token and a class word."),
            prefix="delta",
            min=2,
            max=16,
        )
        return io.Schema(
            node_id="Cones2MergeCustomDiffusion",
            display_name="Merge Custom Diffusion (Cones 2)",
            category=_GROUP,
            description="Puts several concepts into one: each word keeps its own keys and values, ordinary prompts "
            "change least. Takes seconds.",
            search_aliases=["merge deltas", "constrained merge", *_SEARCH],
            inputs=[
                io.Model.Input("model", tooltip="The model that the concepts were trained on."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Autogrow.Input("deltas", template=template, tooltip="The concepts, in the order of their tokens."),
                io.String.Input(
                    "captions",
                    multiline=True,
                    default="",
                    tooltip="Ordinary captions whose meaning stays as it is, one per line. Empty: 200 that ship.",
                ),
            ],
            outputs=[
                DeltaSocket.Output("delta", tooltip="All concepts in one."),
                io.String.Output("tokens", tooltip='What prompts call them, one per line: "<new1> cat".'),
                io.String.Output("report", tooltip="How well it was possible, and what may be worse than hoped."),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, clip: CLIP, deltas: dict[str, Delta], captions: str) -> io.NodeOutput:
        given = [delta for delta in deltas.values() if delta is not None]
        result, report = merged(model, clip, given, captions)
        return io.NodeOutput(result, prompts_of(result.tokens), report)


class Cones2CompressCustomDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2CompressCustomDiffusion",
            display_name="Compress Custom Diffusion (Cones 2)",
            category=_GROUP,
            description="Keeps the largest singular values of a concept's differences to the model: a smaller file.",
            search_aliases=["compress delta", "svd", *_SEARCH],
            inputs=[
                io.Model.Input("model", tooltip="The model that the concept was trained on."),
                DeltaSocket.Input("delta", tooltip="The concept."),
                io.Float.Input(
                    "ratio",
                    default=DEFAULT_RATIO,
                    min=0.01,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of the singular values' sum that is kept; 0.6 makes a file about a fifth as large.",
                ),
            ],
            outputs=[DeltaSocket.Output("compressed", display_name="delta", tooltip="The smaller concept.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, delta: Delta, ratio: float) -> io.NodeOutput:
        check_numbers(ratio=ratio)
        return io.NodeOutput(compress(delta, base_weights(model), ratio))


def _strength_input(id: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(id, default=1.0, min=DELTA_STRENGTH.low, max=DELTA_STRENGTH.high, step=0.05, tooltip=tooltip)


NODES = [
    Cones2LoadCustomDiffusion,
    Cones2SaveCustomDiffusion,
    Cones2ApplyCustomDiffusion,
    Cones2MergeCustomDiffusion,
    Cones2CompressCustomDiffusion,
]
