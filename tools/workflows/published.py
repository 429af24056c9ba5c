"""The workflow `published_guidance_config`."""

from .parts import (
    AMBER,
    BLUE,
    DECODE_LINKS,
    GREEN,
    PROMPT_LINKS,
    SD21_NAME,
    VIOLET,
    Graph,
    checkpoint,
    column,
    group,
    node,
    note,
    prompts,
    save,
)

NOTE = """
## A published guidance config, opened directly

Reads a `guidance_config.json` as the Cones 2 authors publish them: prompt, residuals, layout and numbers come from
the file. Nothing is typed again.

**What to connect**

1. **Guidance config** – press *upload config, layout and residuals* and choose all its files together (or copy them
   into one folder of ComfyUI's `input`). The example in this pack's `workflows/assets/published` has config and
   layout; its residuals `mug.pt` and `dog.pt` are yours to supply, with it or in `models/residuals`. Only residuals
   of the entry's `subject_list` are read.
2. **Checkpoint** – the model they were trained on. The published ones are for **Stable Diffusion 2.1 at 768 px**
   (`v2-1_768-ema-pruned.safetensors`). A residual that does not fit the model is refused with both widths named.
3. *entry* chooses among the entries of a config, from 1.

The published settings are 50 Euler steps at cfg 7.5, every step guided and repeated (*recurrence*). Pictures differ
from the published script's in the noise, which ComfyUI draws in its own way, and where the script is known to be
wrong: words are found by the tokenizer and not by typed positions.
"""

PUBLISHED = Graph(
    columns=[
        column(460, group("", "", note(NOTE, 560))),
        column(
            420,
            group("1 · Model", BLUE, checkpoint(SD21_NAME)),
            group(
                "2 · Published config",
                AMBER,
                node("config", "Cones2LoadGuidanceConfig", "Guidance config", config="guidance_config_example.json"),
            ),
        ),
        column(
            400,
            group(
                "3 · Prompt and subjects",
                VIOLET,
                *prompts(""),
                node("subjects", "Cones2ApplyResidualToConditioning", "Put the subjects into the prompt", 200),
            ),
        ),
        column(
            400,
            group(
                "4 · Sampling",
                GREEN,
                node("latent", "EmptyLatentImage", "Size", width=768, height=768),
                node(
                    "sampler",
                    "Cones2LayoutGuidedKSampler",
                    seed=0,
                    control_after_generate="fixed",
                    steps=50,
                    cfg=7.5,
                    sampler_name="euler",
                    scheduler="normal",
                ),
                node("decode", "VAEDecode"),
            ),
        ),
        column(560, group("5 · Picture", GREEN, save("published"))),
    ],
    links=[
        ("model", "CLIP", "config", "clip"),
        ("config", "prompt", "prompt", "text"),
        *PROMPT_LINKS,
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
        *DECODE_LINKS,
    ],
)
