"""Train Custom Diffusion inside the graph."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.training.config import RANGES
from ..cones2.training.loss_plot import loss_curve
from .host.delta_clip import prompts_of
from .host.images import to_image
from .host.photo_folders import NO_FOLDER, folder_stamps, wrong_folder
from .host.sockets import CATEGORY, DeltaSocket
from .host.train import all_photos
from .host.train_delta import learn_delta
from .inputs import ADVANCED
from .training_inputs import connected_images, folder_input, model_inputs, number_inputs, photo_inputs, run_inputs


class Cones2TrainCustomDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2TrainCustomDiffusion",
            display_name="Train Custom Diffusion (Cones 2)",
            category=f"{CATEGORY}/Custom Diffusion",
            description="Learns a concept from 3-6 photos: new keys and values of the model, and a word of its own, "
            '"<new1>". A residual is a thousand times smaller.',
            search_aliases=["train delta", "train concept", "custom diffusion", "dreambooth", "personalization"],
            is_input_list=True,
            is_output_node=True,  # it saves a file
            inputs=_inputs(),
            outputs=[
                DeltaSocket.Output("delta", tooltip="The concept. Connect it to Apply Custom Diffusion."),
                io.String.Output("tokens", tooltip='What prompts call it: "<new1> dog".'),
                io.Custom("LOSS_MAP").Output(
                    "loss_map", tooltip="The loss of every step, for the host's Plot Loss Graph."
                ),
                io.Image.Output("loss_curve", tooltip="The loss as a picture."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, folder: list[str] | None = None, class_folder: list[str] | None = None, photos: object = None
    ) -> bool | str:
        """True for folders that are there or come from another node (None), else the message."""
        return next(
            (text for name in (folder, class_folder) if (text := wrong_folder(name[0] if name else None))), True
        )

    @classmethod
    def fingerprint_inputs(
        cls, folder: list[str] | None = None, class_folder: list[str] | None = None, **_: object
    ) -> list[list[tuple[str, int, int]]]:
        return [folder_stamps(name[0] if name else None) for name in (folder, class_folder)]

    @classmethod
    def execute(
        cls,
        images: list[Tensor] | None = None,
        masks: list[Tensor] | None = None,
        photos: dict[str, list[Tensor]] | None = None,
        folder: list[str] | None = None,
        class_folder: list[str] | None = None,
        **inputs: list[Any],
    ) -> io.NodeOutput:
        values = {name: value[0] for name, value in inputs.items()}
        values["class_folder"] = class_folder[0] if class_folder else NO_FOLDER
        pictures = all_photos(connected_images(images, photos), masks, folder[0] if folder else NO_FOLDER)
        delta, history = learn_delta(pictures, **values)
        tokens, losses = prompts_of(delta.tokens), [record["loss"] for record in history]
        curve = to_image([loss_curve(history, f"{tokens or values['class_word']}, Custom Diffusion")])
        return io.NodeOutput(delta, tokens, {"loss": losses}, curve)


def _inputs() -> list[Any]:
    return [
        *model_inputs(),
        io.String.Input(
            "class_word",
            default="dog",
            tooltip='What the photos are of, in the words that prompts will use: "dog", "wooden pot".',
        ),
        io.String.Input(
            "token",
            default="<new1>",
            tooltip='The word that learns, in angle brackets: prompts say "photo of a <new1> dog". Empty: none, only '
            "the weights learn.",
        ),
        io.Combo.Input(
            "attention",
            display_name="trained part",
            options=["keys and values", "all"],
            default="keys and values",
            tooltip="keys and values of the cross-attention as published, or all of it: for faces with few photos.",
        ),
        io.Int.Input(
            "class_pictures",
            display_name="class pictures, 0 = none",
            default=100,
            min=0,
            max=1000,
            tooltip="How many pictures of other things of the class the model makes first, so that the class keeps its "
            "looks. 0: none, and the whole class comes to look like the concept.",
        ),
        *number_inputs("Updates. 0: 500 as published."),
        io.Float.Input(
            "prior_weight",
            default=1.0,
            min=RANGES["prior_weight"].low,
            max=100.0,
            step=0.1,
            tooltip="Weight of the error on pictures of the class.",
            extra_dict=ADVANCED,
        ),
        io.Boolean.Input(
            "augment",
            default=True,
            tooltip="Draw photos smaller and larger too, with words that say so, as published.",
            extra_dict=ADVANCED,
        ),
        io.Boolean.Input(
            "flip",
            default=True,
            tooltip="Mirror half of the photos. Off for things with writing on them.",
            extra_dict=ADVANCED,
        ),
        *run_inputs("custom_diffusion", "file"),
        *photo_inputs(),
        folder_input(
            "class_folder",
            "folder of class pictures",
            "Your own pictures of the class, each with a caption in NAME.txt if you like, instead of those that the "
            "model makes.",
        ),
    ]


NODES = [Cones2TrainCustomDiffusion]
