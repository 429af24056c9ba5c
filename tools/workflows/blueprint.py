"""The subgraph that ComfyUI's node search offers: prompt, subjects and painted layout to a picture, in one node."""

from .parts import SCENE_LINKS, SD_SAMPLING, Graph, column, node, sampler, scene, subgraph

CATEGORY = "Cones 2"
INSIDE = subgraph(
    "all",
    "Subjects in their places (Cones 2)",
    [column(460, scene("", (), 512)), column(380, sampler(**SD_SAMPLING)), column(300, node("decode", "VAEDecode"))],
    promoted=[
        ("scene", "prompt", "prompt"),
        ("scene", "negative_prompt", "negative prompt"),
        ("scene", "width", "width"),
        ("scene", "height", "height"),
        ("scene", "layout_document", "layout"),
        ("sampler", "seed", "seed"),
        ("sampler", "steps", "steps"),
        ("sampler", "cfg", "cfg"),
    ],
) | {
    "free_inputs": [
        ("model", "sampler", "model"),
        ("clip", "scene", "clip"),
        ("vae", "decode", "vae"),
        ("subject", "scene", "residuals.residual0"),
    ],
    "free_outputs": [("picture", "decode", "IMAGE")],
    "description": "What the picture shows, who is in it and where: a prompt, a painted layout, and your subjects, for "
    "SD 1.x, SD 2.x and SDXL.",
}

BLUEPRINT = Graph(
    columns=[column(460, INSIDE)],
    links=[link for link in SCENE_LINKS if link[0] not in ("model",)],
)
