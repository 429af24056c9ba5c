"""The workflow `two_subjects_color_layout`."""

from .parts import (
    AMBER,
    BLUE,
    DECODE_LINKS,
    GREEN,
    PROMPT_LINKS,
    SD15_NAME,
    SD15_URL,
    VIOLET,
    Graph,
    apply_residuals,
    checkpoint,
    column,
    group,
    node,
    note,
    prompts,
    residual,
    save,
)

NOTE = """
## Two subjects on a color layout

Your own mug and your own dog in one picture, each where you painted it.

**What to connect**

1. **Checkpoint** – the model your residuals were trained on (SD 1.x, SD 2.x or SDXL).
2. **Your subjects** – put the residuals (`.safetensors` or `.pt`, about 5 KB each) into `models/residuals`, press
   **R** and pick them. *subject* is the word of the prompt that becomes your subject.
3. **Layout picture** – drop `workflows/assets/two_subjects_layout.png` from this pack's folder onto it, or any picture
   you painted in flat colors. Each line of *colors* says which color is which subject.
4. **Prompt** – name every subject once: `a mug and a dog on the beach`.

**No residuals yet?** Select the violet group's nodes and press **Ctrl+B**: the plain words *mug* and *dog* still go
where they are painted.

**Check first** that *How the layout was read* shows each region with its name.

**Then tune** *guidance_weight*: 0.05–0.10 is recommended, more forces the layout, 0 turns it off. *recurrence* does
each guided step twice: better placement, twice the time. Guided steps then run as Euler.
"""

TWO_SUBJECTS = Graph(
    columns=[
        column(460, group("", "", note(NOTE, 600))),
        column(
            400,
            group(
                "1 · Model and prompt", BLUE, checkpoint(SD15_NAME, SD15_URL), *prompts("a mug and a dog on the beach")
            ),
            group(
                "2 · Your subjects",
                VIOLET,
                residual("mug"),
                residual("dog"),
                node("subjects", "Cones2ApplyResidualToConditioning", "Put the subjects into the prompt", 200),
            ),
        ),
        column(
            400,
            group(
                "3 · Where they belong",
                AMBER,
                node("picture", "LoadImage", "Layout picture", 320, image="two_subjects_layout.png"),
                node(
                    "layout",
                    "Cones2ColorLayoutToMasks",
                    "Which color is which subject",
                    200,
                    colors="255,192,0 = mug\n255,0,0 = dog",
                ),
                node("understood", "PreviewImage", "How the layout was read", 320),
            ),
        ),
        column(
            400,
            group(
                "4 · Sampling",
                GREEN,
                node("latent", "EmptyLatentImage", "Size", width=512, height=512),
                node(
                    "sampler",
                    "Cones2LayoutGuidedKSampler",
                    seed=1,
                    control_after_generate="fixed",
                    steps=30,
                    cfg=7.5,
                    sampler_name="euler",
                    scheduler="normal",
                ),
                node("decode", "VAEDecode"),
            ),
        ),
        column(560, group("5 · Picture", GREEN, save("two_subjects"))),
    ],
    links=[
        *PROMPT_LINKS,
        *apply_residuals("mug", "dog"),
        ("picture", "IMAGE", "layout", "image"),
        ("layout", "preview", "understood", "images"),
        ("model", "MODEL", "sampler", "model"),
        ("subjects", "conditioning", "sampler", "positive"),
        ("negative", "CONDITIONING", "sampler", "negative"),
        ("latent", "LATENT", "sampler", "latent_image"),
        ("layout", "layout", "sampler", "layout"),
        ("sampler", "latent", "decode", "samples"),
        *DECODE_LINKS,
    ],
)
