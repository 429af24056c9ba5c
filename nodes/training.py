"""Train a residual inside the graph."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.ranges import BATCH_SIZE, LEARNING_RATE, SEED, TRAINING_STEPS
from ..cones2.training.config import DEFAULT_RECIPE, RECIPES
from ..cones2.training.loss_plot import loss_curve
from .host.images import to_image
from .host.photo_folders import NO_FOLDER, folder_stamps, photo_folders, wrong_folder
from .host.sockets import CATEGORY, ResidualSocket
from .host.train import all_photos, learn
from .inputs import ADVANCED


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
        connected = [*(images or []), *(image for group in (photos or {}).values() for image in group)]
        values = {name: value[0] for name, value in inputs.items()}
        residual, history = learn(all_photos(connected, masks, folder[0] if folder else NO_FOLDER), **values)
        losses = [record["loss"] for record in history]
        title = f"{residual.subject}, {values['method']}"
        return io.NodeOutput((residual,), {"loss": losses}, to_image([loss_curve(history, title)]))


def _inputs() -> list[Any]:
    return [
        io.Model.Input(
            "model",
            tooltip="An SD 1.x, SD 2.x or SDXL model, or a diffusion transformer with the recipe photos. It stays as "
            "it is.",
        ),
        io.Clip.Input("clip", tooltip="Its text encoder. It stays as it is."),
        io.Vae.Input("vae", tooltip="Its VAE."),
        io.Image.Input(
            "images", optional=True, tooltip="3-6 photos of the subject: a batch, or the list of a dataset loader."
        ),
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
        io.Int.Input(
            "steps",
            display_name="steps, 0 = automatic",
            default=0,
            min=0,
            max=int(TRAINING_STEPS.high),
            tooltip="Updates at most; direct stops when it is done. 0: as many as the method's own recipe has.",
            extra_dict=ADVANCED,
        ),
        io.Float.Input(
            "learning_rate",
            display_name="learning rate, 0 = automatic",
            default=0.0,
            min=0.0,
            max=LEARNING_RATE.high,
            step=1e-7,
            round=1e-7,
            tooltip="0: the one of the method's own recipe.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "resolution",
            display_name="resolution, 0 = automatic",
            default=0,
            min=0,
            max=2048,
            step=64,
            tooltip="Side of the training pictures in pixels. 0: the size that the model was made for.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "batch_size",
            default=1,
            min=int(BATCH_SIZE.low),
            max=int(BATCH_SIZE.high),
            tooltip="Photos per forward pass; more need more memory.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "accumulation",
            display_name="accumulation, 0 = automatic",
            default=0,
            min=0,
            max=int(BATCH_SIZE.high),
            tooltip="Forward passes per update. 0: as many as the method's own recipe needs at this batch size.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=int(SEED.high),
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Decides everything random. Another seed is another training.",
        ),
        io.String.Input(
            "save_name",
            default="",
            tooltip="File name in models/residuals; numbered where another residual has it. Empty: not saved.",
        ),
        io.Boolean.Input(
            "gradient_checkpointing", default=False, tooltip="Much less memory, slower.", extra_dict=ADVANCED
        ),
        io.Int.Input(
            "preview_every",
            display_name="preview every, 0 = off",
            default=50,
            min=0,
            max=100000,
            tooltip="Show the loss in the node, and a quick sample every so many steps; 0: neither.",
            extra_dict=ADVANCED,
        ),
        io.Mask.Input("masks", optional=True, tooltip="White where the subject is: one mask, or one per photo."),
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
        io.Autogrow.Input(
            "photos",
            template=io.Autogrow.TemplatePrefix(
                io.Image.Input("photo", tooltip="A photo of the subject, such as Load Image's."),
                prefix="photo",
                min=0,
                max=16,
            ),
            optional=True,
            tooltip="Photos of the subject, one after the other; they join those of images.",
        ),
        io.Combo.Input(
            "folder",
            display_name="folder of photos",
            options=photo_folders(),
            default=NO_FOLDER,
            optional=True,
            tooltip="A folder of photos inside ComfyUI's input folder. Press R after adding one. Photos that are "
            "connected join them.",
        ),
    ]


NODES = [Cones2TrainResidual]
