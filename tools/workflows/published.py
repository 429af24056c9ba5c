"""The template `4 Published config`: a guidance_config.json as it is published, on subjects that are there."""

from .parts import (
    DEMO_SAMPLING,
    DEMO_SIDE,
    LARGE_LINKS,
    Graph,
    column,
    decoded,
    demo_model,
    node,
    note,
    sampler,
    subgraph,
)

NOTE = """
## A published guidance config, as it is

*Load Guidance Config* opens a **guidance_config.json** in the form that the authors of Cones 2 publish: prompt,
subjects, layout and numbers come from the file, nothing is typed again. This one is on the subjects of the demo model,
so it runs at once; it lies in **input/cones2/demo**.

**Your own**: press *upload config, layout and residuals* and choose all files together. The published ones are for
Stable Diffusion 2.1 at 768 pixels: load that checkpoint instead of the demo model, set the size in **Prompt and
subjects** to 768 × 768, and the sampler to 50 steps and cfg 7.5.

*entry* chooses among the entries of a file, from 1. Pictures differ from the published script's in the noise, which
ComfyUI draws in its own way.
"""

ENCODED = subgraph(
    "encoded",
    "Prompt and subjects",
    [
        column(400, node("prompt", "Cones2TextEncode", text=""), node("negative", "CLIPTextEncode", text="")),
        column(340, node("subjects", "Cones2ApplyResidualToConditioning", "", 180)),
        column(300, node("latent", "EmptyLatentImage", width=DEMO_SIDE, height=DEMO_SIDE, batch_size=4)),
    ],
    promoted=[
        ("negative", "text", "negative prompt"),
        ("latent", "width", "width"),
        ("latent", "height", "height"),
        ("latent", "batch_size", "pictures"),
    ],
    labels={"conditioning": "positive", "CONDITIONING": "negative", "LATENT": "latent", "text": "prompt"},
)

PUBLISHED_CONFIG = Graph(
    columns=[
        column(400, demo_model(), note(NOTE)),
        column(340, node("config", "Cones2LoadGuidanceConfig", config="cones2/demo/guidance_config.json")),
        column(300, ENCODED),
        column(340, sampler(**DEMO_SAMPLING)),
        *decoded("published", large=True),
    ],
    links=[
        ("model", "CLIP", "config", "clip"),
        ("model", "CLIP", "prompt", "clip"),
        ("model", "CLIP", "negative", "clip"),
        ("config", "prompt", "prompt", "text"),
        ("prompt", "conditioning", "subjects", "conditioning"),
        ("config", "residuals", "subjects", "residuals.residual0"),
        ("model", "MODEL", "sampler", "model"),
        ("subjects", "conditioning", "sampler", "positive"),
        ("negative", "CONDITIONING", "sampler", "negative"),
        ("latent", "LATENT", "sampler", "latent_image"),
        ("config", "layout", "sampler", "layout"),
        ("config", "guidance_weight", "sampler", "guidance_weight"),
        ("config", "guided_steps", "sampler", "guided_steps"),
        ("config", "outside_weight", "sampler", "outside_weight"),
        ("sampler", "latent", "decode", "samples"),
        ("model", "VAE", "decode", "vae"),
        *LARGE_LINKS,
    ],
)
