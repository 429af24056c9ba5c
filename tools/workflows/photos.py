"""From photos to a picture: the template `3 Photos to picture`, and the app, which does it on the demo model."""

from .parts import (
    BACKGROUND_NAME,
    BACKGROUND_URL,
    DEMO_SAMPLING,
    DEMO_SIDE,
    SAVE_LINKS,
    SCENE_LINKS,
    SD_SAMPLING,
    Graph,
    Link,
    Placed,
    bypassed,
    checkpoint,
    column,
    decoded,
    demo_model,
    enlarge,
    needing,
    node,
    note,
    sampler,
    save,
    scene,
    subgraph,
)
from .scenes import LEARNED, ORANGE

NOTE = """
## From photos of your subject to a picture of it

1. **Photos**: open the node by the button in its corner and drop three photos of one thing onto its Load Image nodes,
   or choose files here. Different backgrounds and views help.
2. **Subject** (Train Residual): the kind of thing, one word that the prompt has too. A *description* of how it looks
   helps; it may be empty.
3. **Checkpoint**: the model that you will make pictures with. It stays as it is.
4. **Run.** The curve and a first picture appear in Train Residual. What was learned is a few kilobytes in
   **models/residuals**; as long as nothing changes it is not learned again, so go on with prompts, regions and seeds.

**Masks make it better**: inside *Photos*, the two nodes of ComfyUI that cut a subject out of its background are
switched off, because their model, birefnet.safetensors, is a download of its own. Select both, press **Ctrl+B** and
choose the file. Photos with transparency need no masks.

**In other pictures**: choose the file in the row of any Scene. On a computer without a graphics card, try the app
**6 Photos and places**, which does the same on the small model of this pack.
"""

PHOTOS = [f"sample_dog_photo_{number}.jpg" for number in (1, 2, 3)]
TOY_PHOTOS = [f"sample_toy_dog_{number}.png" for number in (1, 2, 3)]
KEYS = ("first", "second", "third")
LOOKS = "white striped blue dog"
"""What the toy photos show, in the words of the demo model's captions."""
BATCH_LINKS: list[Link] = [(key, "IMAGE", "batch", f"images.image{number}") for number, key in enumerate(KEYS)]
TRAIN_LINKS: list[Link] = [
    ("model", "MODEL", "train", "model"),
    ("model", "CLIP", "train", "clip"),
    ("model", "VAE", "train", "vae"),
    ("batch", "IMAGE", "train", "images"),
    ("train", "residual", "scene", "residuals.residual0"),
]

LOADED = subgraph(
    "photos",
    "Photos",
    [
        column(
            300,
            *(
                node(key, "LoadImage", f"Photo {number}", 320, image=file)
                for number, (key, file) in enumerate(zip(KEYS, PHOTOS, strict=True), 1)
            ),
        ),
        column(
            320,
            node("batch", "BatchImagesNode"),
            bypassed(
                needing(
                    node("cutter", "LoadBackgroundRemovalModel"), BACKGROUND_NAME, BACKGROUND_URL, "background_removal"
                )
            ),
        ),
        column(320, bypassed(node("cut", "RemoveBackground"))),
    ],
    promoted=[(key, "image", f"photo {number}") for number, key in enumerate(KEYS, 1)],
    labels={"IMAGE": "photos", "mask": "masks"},
)

PHOTOS_TO_PICTURE = Graph(
    columns=[
        column(400, note(NOTE)),
        column(340, LOADED, checkpoint()),
        column(380, node("train", "Cones2TrainResidual", "", 420, subject="dog", save_name="my_dog")),
        column(
            440,
            scene(
                "a dog on the beach",
                (Placed("dog", (0.25, 0.3, 0.5, 0.6), "", ORANGE),),
                512,
                negative="blurry, low quality, deformed",
            ),
        ),
        column(340, sampler(**SD_SAMPLING)),
        *decoded("my_dog"),
    ],
    links=[
        *BATCH_LINKS,
        ("cutter", "bg_model", "cut", "bg_removal_model"),
        ("batch", "IMAGE", "cut", "image"),
        ("cut", "mask", "train", "masks"),
        *TRAIN_LINKS,
        *SCENE_LINKS,
        *SAVE_LINKS,
    ],
)

LEARN = subgraph(
    "learn",
    "Learn the subject",
    [
        column(280, node("batch", "BatchImagesNode"), node("opaque", "BatchMasksNode")),
        column(280, node("there", "InvertMask")),
        column(
            400,
            node("train", "Cones2TrainResidual", "", 420, subject="dog", description=LOOKS),
        ),
    ],
    promoted=[
        ("train", "subject", "kind"),
        ("train", "description", "looks, in words"),
        ("train", "save_name", "save as"),
    ],
)
PICTURE = subgraph(
    "picture",
    "Picture",
    [column(380, sampler(**DEMO_SAMPLING)), column(300, node("decode", "VAEDecode"), enlarge())],
    promoted=[("sampler", "seed", "seed")],
)
APP_SUBJECTS = tuple(
    Placed(each.word, each.box, "" if each.word == "dog" else each.residual, each.color) for each in LEARNED.subjects
)

PHOTOS_AND_PLACES = Graph(
    columns=[
        column(
            300,
            *(
                node(key, "LoadImage", f"Photo {number}", 320, image=file)
                for number, (key, file) in enumerate(zip(KEYS, TOY_PHOTOS, strict=True), 1)
            ),
        ),
        column(340, demo_model(), LEARN),
        column(440, scene(LEARNED.prompt, APP_SUBJECTS, DEMO_SIDE)),
        column(300, PICTURE),
        column(500, save("photos_and_places")),
    ],
    links=[
        *BATCH_LINKS,
        *((key, "MASK", "opaque", f"masks.mask{number}") for number, key in enumerate(KEYS)),
        ("opaque", "MASK", "there", "mask"),
        ("there", "MASK", "train", "masks"),
        *TRAIN_LINKS,
        *SCENE_LINKS,
        ("decode", "IMAGE", "large", "image"),
        ("large", "IMAGE", "save", "images"),
    ],
    app={
        "inputs": [
            ("scene", "prompt", "prompt", "Name the dog and what is beside it."),
            ("scene", "layout_document", "layout", "Drag a region, or draw a new one."),
            *((key, "image", f"photo {number}", "") for number, key in enumerate(KEYS, 1)),
            ("learn", "subject", "kind", "One word that the prompt has."),
            ("learn", "description", "looks, in words", "Helps to learn it; may be empty."),
        ],
        "outputs": ["save"],
    },
)
