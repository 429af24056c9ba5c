"""What the pack registers with ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    attention,
    config,
    custom_diffusion,
    delta_training,
    demo,
    guidance,
    layouts,
    painter,
    pictures,
    residuals,
    sampling,
    scene,
    text,
    training,
)
from .host.adapter_folder import add_adapter_folder
from .host.delta_folder import add_delta_folder
from .host.folders import add_residual_folder
from .host.graph import watch_graphs
from .host.residual_routes import add_residual_routes
from .host.samples import add_samples


class Cones2Extension(ComfyExtension):
    """All nodes, in the order of the node table in the README."""

    async def on_load(self) -> None:
        add_residual_folder()
        add_samples()
        add_adapter_folder()
        add_delta_folder()
        watch_graphs()
        add_residual_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            *demo.NODES,
            *residuals.NODES,
            *text.NODES,
            *scene.NODES,
            *painter.NODES,
            *layouts.NODES,
            *guidance.NODES,
            *sampling.NODES,
            *config.NODES,
            *attention.NODES,
            *training.NODES,
            *pictures.NODES,
            *custom_diffusion.NODES,
            *delta_training.NODES,
        ]
