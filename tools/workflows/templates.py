"""The templates that begin with a Scene: `1 Start here`, `2 Your checkpoint`, `5 Three subjects and a second pass`."""

from .parts import (
    DEMO_SAMPLING,
    DEMO_SIDE,
    LARGE_LINKS,
    SAVE_LINKS,
    SCENE_LINKS,
    SD_SAMPLING,
    Graph,
    Placed,
    checkpoint,
    column,
    decoded,
    demo_model,
    node,
    note,
    sampler,
    scene,
    subgraph,
)
from .scenes import BLUE, GREEN, ORANGE, START

START_NOTE = """
## Start here: press Run

**Two subjects, each where it is drawn**: four pictures in some seconds, on a small model that comes with this pack.
Nothing to download.

**Then, in the Scene node**

1. **Move a region**: drag it. Drag on empty ground for another one; boxes, ellipses and brush are below the picture.
2. **Change a subject**: choose another file in its row, and write its kind (house, mug, flower, ball, star, fish) both
   there and into the prompt.
3. **Press Run again.**

*tree* and *dog* are more than words here: their files in the rows turn them into one striped tree and one white and
blue dog. Such a file is a few kilobytes, learned from photos: see the template **3 Photos to picture**.

The model is a toy, 64 pixels wide, and knows eight things, six colors and six places (on the beach, in the forest, in
the snow, in the desert, at night, on the grass). **2 Your checkpoint** is the same with a real one.
"""

CHECKPOINT_NOTE = """
## The same on your own checkpoint

1. **Checkpoint**: choose one of SD 1.x, SD 2.x or SDXL (for SDXL, set the Scene to 1024 × 1024).
2. **Prompt**: name everything that you want to place.
3. **Scene**: press **+** to add a word of the prompt, then drag its region to where it belongs.
4. **Run.**

So far the subjects are plain words. To make *dog* **your** dog, choose its file in the row below the picture: files lie
in **models/residuals**, and the template **3 Photos to picture** makes one from photos.

**If the layout is not followed**, raise *layout strength* of the sampler: 0.05 to 0.10 is recommended, 0 is a plain
KSampler. *follow layout twice* costs twice the time and places better.
"""

THREE_NOTE = """
## Three subjects, then a second pass

Regions are fractions of the picture, so the same layout guides the picture at every size: drawn first at 512 pixels,
then enlarged by half and refined with the same prompt and the same regions.

1. **Checkpoint**: choose one of SD 1.x, SD 2.x or SDXL (for SDXL, set the Scene to 1024 × 1024).
2. **Scene**: name every subject in the prompt, and drag each region to where it belongs. Regions may be of any shape,
   and may overlap. Choose a file in a subject's row to make it yours.
3. **Run.**

**Two passes** is a subgraph: open it by the button in its corner. The second pass is a sampler with *denoise* 0.5,
guided as the first one is; less keeps more of the first picture.
"""

START_HERE = Graph(
    columns=[
        column(400, demo_model(), note(START_NOTE)),
        column(440, scene(START.prompt, START.subjects, DEMO_SIDE, count=4)),
        column(340, sampler(**DEMO_SAMPLING)),
        *decoded("start_here", large=True),
    ],
    links=[*SCENE_LINKS, *LARGE_LINKS],
)

YOUR_CHECKPOINT = Graph(
    columns=[
        column(400, checkpoint(), note(CHECKPOINT_NOTE)),
        column(
            440,
            scene(
                "a mug and a dog on the beach",
                (Placed("mug", (0.06, 0.4, 0.36, 0.45), "", ORANGE), Placed("dog", (0.52, 0.2, 0.42, 0.65), "", BLUE)),
                512,
                negative="blurry, low quality, deformed",
            ),
        ),
        column(340, sampler(**SD_SAMPLING)),
        *decoded("your_checkpoint"),
    ],
    links=[*SCENE_LINKS, *SAVE_LINKS],
)

PASSES = subgraph(
    "passes",
    "Two passes",
    [
        column(380, sampler("first", "First pass", **SD_SAMPLING)),
        column(380, node("larger", "LatentUpscaleBy", upscale_method="bislerp", scale_by=1.5)),
        column(380, sampler("second", "Second pass", **(SD_SAMPLING | {"denoise": 0.5}))),
    ],
    promoted=[("first", "seed", "seed"), ("larger", "scale_by", "enlarge by"), ("second", "denoise", "denoise again")],
)


def pass_links(key: str) -> list[tuple[str, str, str, str]]:
    return [
        ("model", "MODEL", key, "model"),
        ("scene", "positive", key, "positive"),
        ("scene", "negative", key, "negative"),
    ]


THREE_SUBJECTS = Graph(
    columns=[
        column(400, checkpoint(), note(THREE_NOTE)),
        column(
            440,
            scene(
                "a cat, a dog and a vase in a sunny garden",
                (
                    Placed("cat", (0.04, 0.45, 0.3, 0.42), "", ORANGE),
                    Placed("dog", (0.37, 0.3, 0.34, 0.6), "", BLUE, "ellipse"),
                    Placed("vase", (0.74, 0.4, 0.22, 0.45), "", GREEN),
                ),
                512,
                negative="blurry, low quality, deformed",
            ),
        ),
        column(340, PASSES),
        *decoded("three_subjects"),
    ],
    links=[
        ("model", "CLIP", "scene", "clip"),
        *pass_links("first"),
        *pass_links("second"),
        ("scene", "latent", "first", "latent_image"),
        ("first", "latent", "larger", "samples"),
        ("larger", "LATENT", "second", "latent_image"),
        ("second", "latent", "decode", "samples"),
        ("model", "VAE", "decode", "vae"),
        *SAVE_LINKS,
    ],
)
