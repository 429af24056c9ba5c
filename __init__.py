"""ComfyUI-Cones2: several specific subjects in one picture, each where it was painted.

ComfyUI calls `comfy_entrypoint`; importing this package does nothing else, so that tools which
collect modules (test runners, scanners) can import it without a host.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's nodes, for ComfyUI's V3 loader."""
    from .nodes.extension import Cones2Extension

    return Cones2Extension()
