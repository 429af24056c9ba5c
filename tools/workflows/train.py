"""The workflow that trains: from photos to a picture of their subject."""

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
    save,
)

NOTE = """
## Train your own subject

From three to six photos to a picture of your subject, in one graph.

**What to connect**

1. **Checkpoint** – the model you will make pictures with (SD 1.x, SD 2.x or SDXL). It is not changed.
2. **Photos** – drop your own onto the three *Load Image* nodes. Different backgrounds and views help; connect more to
   *Batch Images*. The photos shown are in `workflows/assets/photos` of this pack's folder.
3. **Subject** – the kind of thing in the photos, in the words of your prompts: `dog`. It is typed at *Train Residual*
   and stands in the prompt.
4. **Resolution** – 0 is the model's own: 512 for SD 1.x, 768 for SD 2.1, 1024 for SDXL. Less saves memory, and so does
   *gradient_checkpointing*.

5. **Masks** – white where the subject is: right-click a photo, *Open in Mask Editor*, and connect its mask, or let the
   host's *Remove Background* (or any segmentation node) make them: its mask goes to `masks` of *Train Residual*. Photos
   with transparency need none. Without masks each photo counts as a whole, which is worse.

**Queue once**: the residual (about 5 KB) is saved in `models/residuals` and used at once. As long as nothing changes it
is not trained again, not even after a restart, so you can go on with prompts and seeds. A stopped run continues when it
is queued again.

**The published recipe** is *method* paper: numbers that are 0 are the method's own.
"""

TRAIN = Graph(
    columns=[
        column(460, group("", "", note(NOTE, 560))),
        column(
            400,
            group(
                "1 · Photos",
                AMBER,
                node("first", "LoadImage", "Photo 1", 300, image="dog_photo_1.jpg"),
                node("second", "LoadImage", "Photo 2", 300, image="dog_photo_2.jpg"),
                node("third", "LoadImage", "Photo 3", 300, image="dog_photo_3.jpg"),
                node("photos", "BatchImagesNode"),
            ),
        ),
        column(
            400,
            group("2 · Model and prompt", BLUE, checkpoint(SD15_NAME, SD15_URL), *prompts("a dog on the beach")),
            group(
                "3 · Training",
                VIOLET,
                node("train", "Cones2TrainResidual", "Learn the subject", 420, subject="dog", save_name="my_dog"),
                node("subjects", "Cones2ApplyResidualToConditioning", "Put the subject into the prompt", 160),
            ),
        ),
        column(
            400,
            group(
                "4 · Sampling",
                GREEN,
                node("latent", "EmptyLatentImage", "Size", width=512, height=512),
                node(
                    "sampler", "KSampler", seed=1, control_after_generate="fixed", steps=30, cfg=7.5,
                    sampler_name="euler", scheduler="normal",
                ),
                node("decode", "VAEDecode"),
                node("curve", "LossGraphNode", "Loss of every step", 320, filename_prefix="cones2/my_dog_loss"),
            ),
        ),
        column(560, group("5 · Picture", GREEN, save("my_dog"))),
    ],
    links=[
        *PROMPT_LINKS,
        ("first", "IMAGE", "photos", "images.image0"),
        ("second", "IMAGE", "photos", "images.image1"),
        ("third", "IMAGE", "photos", "images.image2"),
        ("model", "MODEL", "train", "model"),
        ("model", "CLIP", "train", "clip"),
        ("model", "VAE", "train", "vae"),
        ("photos", "IMAGE", "train", "images"),
        ("train", "loss_map", "curve", "loss"),
        *apply_residuals("train"),
        ("subjects", "conditioning", "sampler", "positive"),
        ("negative", "CONDITIONING", "sampler", "negative"),
        ("model", "MODEL", "sampler", "model"),
        ("latent", "LATENT", "sampler", "latent_image"),
        ("sampler", "LATENT", "decode", "samples"),
        *DECODE_LINKS,
    ],
)  # fmt: skip
