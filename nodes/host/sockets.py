"""The sockets of the pack's own types, and the menu its nodes are in."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "Cones2"

ResidualSocket = io.Custom("CONES2_RESIDUAL")
"""A tuple of the engine's subjects: Residuals, or PicturedSubjects that have pictures instead. Usually one; a guidance
config gives all of its subjects'."""

AdapterSocket = io.Custom("IPADAPTER")
"""An image adapter as IPAdapter packs pass it on: {"image_proj": weights, "ip_adapter": weights}."""

DeltaSocket = io.Custom("CONES2_DELTA")
"""An engine Delta: one Custom Diffusion file, or several merged."""

LayoutSocket = io.Custom("CONES2_LAYOUT")
"""An engine Layout."""

ElementSocket = io.Custom("ARRAY")
"""The host's lists, of which `elements` of Create Bounding Boxes is one; older hosts have no name for the type."""

BoxSocket = io.Custom("BOUNDING_BOX")
"""The host's own type as a bare socket: io.BoundingBox.Input brings a widget, and on older hosts nothing else."""
