"""Residual files: load and save."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..cones2.concepts.residual import Residual
from ..cones2.concepts.residual_file import load_residual, save_residual
from ..cones2.errors import ResidualError
from .host.folders import find_residual, missing_residual, residual_files, residual_path
from .host.images import to_cutouts
from .host.sockets import CATEGORY, ResidualSocket
from .inputs import check_numbers


class Cones2LoadResidual(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LoadResidual",
            display_name="Load Residual (Cones 2)",
            category=CATEGORY,
            description="Loads a trained subject: "
            "a few kilobytes that turn a word of the prompt into your dog, mug or vase.",
            search_aliases=[
                "load concept",
                "load subject",
                "personalization",
                "custom subject",
                "residual embedding",
                "DreamBooth alternative",
            ],
            inputs=[
                io.Combo.Input(
                    "file",
                    display_name="subject file",
                    options=residual_files(),
                    tooltip="A .safetensors or .pt residual in models/residuals (subfolders and "
                    "extra_model_paths.yaml included).",
                ),
                io.String.Input(
                    "subject",
                    display_name="word of the prompt",
                    default="",
                    tooltip="The word or phrase of the prompt that becomes this subject, "
                    'such as "dog"; "dog#2" is the second dog. '
                    "Empty: the phrase stored in the file, or its file name.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How strongly the word is moved towards the subject. "
                    "1 is as trained, 0 leaves the plain word.",
                ),
                io.Image.Input(
                    "photo",
                    optional=True,
                    tooltip="Photos of the subject for photo_start, up to 6, instead of the cut-outs in the file. "
                    "Each picture of a batch takes the next.",
                ),
                io.Mask.Input(
                    "photo_mask",
                    optional=True,
                    tooltip="Where the subject is in the photo (white). Without it the whole photo is the subject.",
                ),
            ],
            outputs=[
                ResidualSocket.Output("residual", tooltip="The subject. Connect it to Apply Residual to Conditioning.")
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        """True when `file` exists or comes from another node (None), else the message."""
        return True if file is None or find_residual(file) else missing_residual(file)

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **_: Any) -> str:
        path = find_residual(file)
        status = path.stat() if path else None
        return f"{file} {status.st_mtime_ns} {status.st_size}" if status else file

    @classmethod
    def execute(
        cls,
        file: str,
        subject: str,
        strength: float,
        photo: Tensor | None = None,
        photo_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        check_numbers(strength=strength)
        path = find_residual(file)
        if path is None:
            raise ResidualError(missing_residual(file))
        residual = load_residual(path, subject.strip() or None)
        if photo is not None:
            residual = residual.with_cutouts(to_cutouts(photo, photo_mask))
        return io.NodeOutput((residual.with_strength(strength),))


class Cones2SaveResidual(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SaveResidual",
            display_name="Save Residual (Cones 2)",
            category=CATEGORY,
            description="Saves a subject to models/residuals, where Load Residual finds it.",
            search_aliases=["save concept", "save subject", "export residual"],
            inputs=[
                ResidualSocket.Input("residual", tooltip="The subject to save (exactly one)."),
                io.String.Input(
                    "name",
                    default="my_subject",
                    tooltip='File name without ending; "pets/rex" saves into a subfolder.',
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
    def execute(cls, residual: tuple[Residual, ...], name: str, overwrite: bool) -> io.NodeOutput:
        if len(residual) != 1:
            raise ResidualError(
                f"{len(residual)} residuals are connected ({_names(residual)}): "
                "Save Residual stores one subject per file"
            )
        if not isinstance(residual[0], Residual):
            raise ResidualError(f'"{residual[0].subject}" is a subject from pictures: it has no residual to save')
        saved = save_residual(residual[0], residual_path(name), overwrite=overwrite)
        return io.NodeOutput(ui=ui.PreviewText(f"Saved {saved}"))


def _names(residuals: tuple[Residual, ...]) -> str:
    return ", ".join(f'"{residual.subject}"' for residual in residuals)


NODES = [Cones2LoadResidual, Cones2SaveResidual]
