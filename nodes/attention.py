"""Where a finished picture attends to each subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .host.conditioning import Conditioning
from .host.heat_maps import chosen_steps, heat_maps, heat_pictures, subjects_to_observe
from .host.images import to_image
from .host.sockets import CATEGORY
from .inputs import scheduler_input, seed_input, steps_input

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher


class Cones2SubjectAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SubjectAttention",
            display_name="Subject Attention (Cones 2)",
            category=CATEGORY,
            description="Shows where a finished picture attends to each subject. The picture is noised again to each "
            "chosen step and the model looks at it once, so it works after any sampler.",
            search_aliases=["attention map", "heat map", "DAAM", "debug layout"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model the picture was made with, from Apply Layout Guidance or plain."
                ),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The positive prompt, with or without layout and subjects. Of a combined one the first "
                    "prompt counts.",
                ),
                io.Latent.Input(
                    "latent", tooltip="The finished latents of the sampler. Of a batch the first picture counts."
                ),
                io.String.Input(
                    "subjects",
                    multiline=True,
                    default="",
                    tooltip="One word or phrase of the prompt per line. "
                    "Empty: the subjects of the layout, or the residuals in the prompt.",
                ),
                seed_input("The seed of the noise that is added again, best the sampler's."),
                steps_input("The number of steps of the run."),
                scheduler_input("The scheduler of the run."),
                io.Int.Input("first_step", default=0, min=0, max=9999, tooltip="The first step to look at."),
                io.Int.Input(
                    "last_step",
                    default=10000,
                    min=0,
                    max=10000,
                    tooltip="The step to stop before; the whole run by default.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "heat_maps", tooltip="One labeled picture per subject: the mean over all layers and chosen steps."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        conditioning: Conditioning,
        latent: dict[str, Any],
        subjects: str,
        seed: int,
        steps: int,
        scheduler: str,
        first_step: int,
        last_step: int,
    ) -> io.NodeOutput:
        entry = conditioning[0]
        chosen_subjects = subjects_to_observe(subjects, entry[1])
        chosen = chosen_steps(model, scheduler, steps, first_step, last_step)
        maps = heat_maps(model, entry, chosen_subjects, latent["samples"][:1], seed, chosen)
        return io.NodeOutput(to_image(heat_pictures(maps, chosen_subjects, entry[1])))


NODES = [Cones2SubjectAttention]
