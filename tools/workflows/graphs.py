"""The workflows, described. `build.py` builds them in the frontend; parts.py has what they are made of."""

from typing import Any

from .demo import DEMO
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
    Link,
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
from .train import TRAIN

SD21_NAME = "v2-1_768-ema-pruned.safetensors"

TWO_SUBJECTS_NOTE = """
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
        column(460, group("", "", note(TWO_SUBJECTS_NOTE, 600))),
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

PUBLISHED_NOTE = """
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
        column(460, group("", "", note(PUBLISHED_NOTE, 560))),
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

THREE_SUBJECTS_NOTE = """
## Three subjects in regions, then a second pass

A cat, a dog and a vase in regions made of masks, sampled with **any** sampler, then enlarged and refined with the same
prompt and the same layout: regions are fractions of the picture, so they fit every size.

**What to connect**

1. **Checkpoint** and **residuals** as in *two_subjects_color_layout*. Without residuals, bypass the violet group
   (**Ctrl+B**).
2. **Regions** – each *Region* is a white rectangle (*width*, *height*) put at *x*, *y* on the 512 × 512 canvas.
   Replace any of them with a mask of your own: **Load Image → Open in MaskEditor**, a segmentation, or Create
   Bounding Boxes with *Layout from Boxes*. The order of the masks is the order of *subjects*.
3. **Prompt** – name every subject once.

**How it works:** *Apply Layout Guidance* puts the layout into the conditioning and returns a model that obeys it, so
it works with every sampler node. *guided_steps* 15 guides the first half of the run only. *Self Recurrence* repeats
guided steps; they run as Euler, the rest as the sampler you choose.

**Second pass:** 1.5 × larger, *denoise* 0.5. It is guided too; connect the plain model and prompt to free it.
"""

REGIONS = {"cat": (160, 220, 20, 250), "dog": (170, 270, 190, 200), "vase": (110, 200, 385, 270)}


def region(subject: str) -> list[dict[str, Any]]:
    """A white rectangle and its place on the canvas."""
    width, height, x, y = REGIONS[subject]
    return [
        node(f"{subject}_size", "SolidMask", f"Region of the {subject}: size", value=1.0, width=width, height=height),
        node(f"{subject}_mask", "MaskComposite", f"Region of the {subject}: place", x=x, y=y, operation="add"),
    ]


def region_links(number: int, subject: str) -> list[Link]:
    return [
        ("canvas", "MASK", f"{subject}_mask", "destination"),
        (f"{subject}_size", "MASK", f"{subject}_mask", "source"),
        (f"{subject}_mask", "MASK", "layout", f"masks.mask{number}"),
    ]


def custom_pass(key: str, title: str, noise_seed: int, steps: int, denoise: float) -> list[dict[str, Any]]:
    """The steps and the sampler of one pass."""
    return [
        node(f"{key}_steps", "BasicScheduler", f"{title}: steps", scheduler="normal", steps=steps, denoise=denoise),
        node(
            key, "SamplerCustom", title, add_noise=True, noise_seed=noise_seed, control_after_generate="fixed", cfg=7.5
        ),
    ]


def pass_links(key: str, latent: str) -> list[Link]:
    """A pass samples `latent` with the guided model and the guided prompt."""
    return [
        ("guide", "model", f"{key}_steps", "model"),
        ("guide", "model", key, "model"),
        ("guide", "conditioning", key, "positive"),
        ("negative", "CONDITIONING", key, "negative"),
        ("recurrence", "sampler", key, "sampler"),
        (f"{key}_steps", "SIGMAS", key, "sigmas"),
        (latent, "LATENT", key, "latent_image"),
    ]


THREE_SUBJECTS = Graph(
    columns=[
        column(460, group("", "", note(THREE_SUBJECTS_NOTE, 620))),
        column(
            400,
            group(
                "1 · Model and prompt",
                BLUE,
                checkpoint(SD15_NAME, SD15_URL),
                *prompts("a cat, a dog and a vase in a sunny garden"),
            ),
            group(
                "2 · Your subjects",
                VIOLET,
                residual("cat"),
                residual("dog"),
                residual("vase"),
                node("subjects", "Cones2ApplyResidualToConditioning", "Put the subjects into the prompt", 200),
            ),
        ),
        column(
            380,
            group(
                "3 · Where they belong",
                AMBER,
                node("canvas", "SolidMask", "Canvas", value=0.0, width=512, height=512),
                *(item for subject in REGIONS for item in region(subject)),
            ),
        ),
        column(
            400,
            group(
                "Layout guidance",
                AMBER,
                node("layout", "Cones2LayoutFromMasks", "Which mask is which subject", subjects="cat\ndog\nvase"),
                node("guide", "Cones2ApplyLayoutGuidance", guidance_weight=0.08, guided_steps=15),
            ),
            group(
                "Sampler",
                GREEN,
                node("choice", "KSamplerSelect", sampler_name="dpmpp_2m"),
                node("recurrence", "Cones2SelfRecurrence"),
            ),
        ),
        column(
            400,
            group(
                "4 · First pass",
                GREEN,
                node("latent", "EmptyLatentImage", "Size", width=512, height=512),
                *custom_pass("first", "First pass", 1, 30, 1.0),
            ),
            group(
                "5 · Second pass",
                GREEN,
                node("larger", "LatentUpscaleBy", "Enlarge", upscale_method="bislerp", scale_by=1.5),
                *custom_pass("second", "Second pass", 2, 30, 0.5),
            ),
        ),
        column(
            560,
            group(
                "6 · Picture",
                GREEN,
                node("decode", "VAEDecode"),
                save("three_subjects"),
            ),
        ),
    ],
    links=[
        *PROMPT_LINKS,
        *apply_residuals("cat", "dog", "vase"),
        *(link for number, subject in enumerate(REGIONS) for link in region_links(number, subject)),
        ("model", "MODEL", "guide", "model"),
        ("subjects", "conditioning", "guide", "conditioning"),
        ("layout", "layout", "guide", "layout"),
        ("choice", "SAMPLER", "recurrence", "sampler"),
        *pass_links("first", "latent"),
        ("first", "output", "larger", "samples"),
        *pass_links("second", "larger"),
        ("second", "output", "decode", "samples"),
        *DECODE_LINKS,
    ],
)

GRAPHS = {
    "demo": DEMO,
    "two_subjects_color_layout": TWO_SUBJECTS,
    "published_guidance_config": PUBLISHED,
    "three_subjects_regions_second_pass": THREE_SUBJECTS,
    "train_residual": TRAIN,
}
