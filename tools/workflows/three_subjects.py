"""The workflow `three_subjects_regions_second_pass`."""

from typing import Any

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

NOTE = """
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
        column(460, group("", "", note(NOTE, 620))),
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
