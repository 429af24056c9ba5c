"""Train a residual inside the graph."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.training.config import DEFAULT_RECIPE, RECIPES
from ..cones2.training.loss_plot import loss_curve
from .host.images import to_image
from .host.photo_folders import NO_FOLDER, folder_stamps, wrong_folder
from .host.sockets import CATEGORY, ResidualSocket
from .host.train import all_photos, learn
from .inputs import ADVANCED
from .training_inputs import connected_images, model_inputs, number_inputs, photo_inputs, run_inputs


class Cones2TrainResidual(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2TrainResidual",
            display_name="Train Residual (Cones 2)",
            category=CATEGORY,
            description="Learns a subject from 3-6 photos of it: "
            "a few kilobytes that turn a word of the prompt into your dog, mug or vase.",
            search_aliases=["train concept", "learn subject", "personalize", "dreambooth", "textual inversion"],
            is_input_list=True,
            is_output_node=True,  # it saves a file
            inputs=_inputs(),
            outputs=[
                ResidualSocket.Output("residual", tooltip="The subject. Connect it to Apply Residual to Conditioning."),
                io.Custom("LOSS_MAP").Output(
                    "loss_map", tooltip="The loss of every step, for the host's Plot Loss Graph."
                ),
                io.Image.Output("loss_curve", tooltip="The loss and the held-out error as a picture."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: list[str] | None = None, photos: object = None) -> bool | str:
        """True for a folder that is there or comes from another node (None), else the message."""
        return wrong_folder(folder[0] if folder else None) or True

    @classmethod
    def fingerprint_inputs(cls, folder: list[str] | None = None, **_: object) -> list[tuple[str, int, int]]:
        return folder_stamps(folder[0] if folder else None)

    @classmethod
    def execute(
        cls,
        images: list[Tensor] | None = None,
        masks: list[Tensor] | None = None,
        photos: dict[str, list[Tensor]] | None = None,
        folder: list[str] | None = None,
        **inputs: list[Any],
    ) -> io.NodeOutput:
        values = {name: value[0] for name, value in inputs.items()}
        pictures = all_photos(connected_images(images, photos), masks, folder[0] if folder else NO_FOLDER)
        residual, history = learn(pictures, **values)
        losses = [record["loss"] for record in history]
        title = f"{residual.subject}, {values['method']}"
        return io.NodeOutput((residual,), {"loss": losses}, to_image([loss_curve(history, title)]))


def _inputs() -> list[Any]:
    return [
        *model_inputs("An SD 1.x, SD 2.x or SDXL model, or a diffusion transformer with the recipe photos"),
        io.String.Input(
            "subject",
            default="dog",
            tooltip='The kind of thing in the photos, in the words that prompts will use: "dog", "pet cat".',
        ),
        io.Combo.Input(
            "method",
            options=["direct", "paper"],
            default="direct",
            tooltip="direct: learn the vectors themselves (fast). "
            "paper: tune a copy of the text encoder as published (slow).",
            extra_dict=ADVANCED,
        ),
        *number_inputs("Updates at most; direct stops when it is done. 0: as many as the method's own recipe has."),
        *run_inputs("residuals", "residual"),
        io.Combo.Input(
            "recipe",
            options=list(RECIPES),
            default=DEFAULT_RECIPE,
            optional=True,
            tooltip="scenes: learn the subject as layouts use it, in its region beside other things; needs masks or "
            "transparent photos to be at its best. photos: learn from the photos alone. paper: as published, the same "
            "as the method paper.",
        ),
        io.String.Input(
            "description",
            default="",
            optional=True,
            tooltip='Start from words: how the subject looks, such as "purple and yellow mug". Empty: start from its '
            "kind alone.",
        ),
        *photo_inputs(),
    ]


NODES = [Cones2TrainResidual]
