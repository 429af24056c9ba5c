"""The demo model: the miniature Stable Diffusion that comes with the pack."""

from __future__ import annotations

from comfy_api.latest import io

from .host.demo_model import check_files, load_clip, load_model, load_vae
from .host.sockets import CATEGORY


class Cones2LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LoadDemoModel",
            display_name="Load Demo Model (Cones 2)",
            category=CATEGORY,
            description="A miniature Stable Diffusion that comes with the pack: it draws eight toy things at 64 x 64 "
            "pixels in seconds, on any computer, with nothing to download.",
            search_aliases=["toy model", "example", "test model", "tiny stable diffusion", "checkpoint"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The denoiser (v-prediction)."),
                io.Clip.Output(display_name="CLIP", tooltip="The text encoder: 128 numbers per token."),
                io.Vae.Output(display_name="VAE", tooltip="The autoencoder: 4 pixels per latent cell."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        check_files()
        return io.NodeOutput(load_model(), load_clip(), load_vae())


NODES = [Cones2LoadDemoModel]
