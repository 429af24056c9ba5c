"""Drivers for the nodes that read text, residuals, pictures, masks, boxes and configs."""

import json
import os
from pathlib import Path
from typing import Any

import folder_paths
import hostkit
import scenes
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

WIDTHS = {"sd15_short": 768, "sd21_short": 1024, "sdxl_short": 2048}


def residual(
    subject: str = "dog", width: int = 768, rows: int = 1, seed: int = 1, strength: float = 1.0, **metadata: str
) -> tuple:
    """CONES2_RESIDUAL of random vectors."""
    make = scenes.module("cones2.concepts.residual").make_residual
    tensor = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return (make(subject, tensor, metadata).with_strength(strength),)


def apply(conditioning: Any, *residuals: tuple, **options: Any) -> Any:
    named = {f"residual{index}": value for index, value in enumerate(residuals)}
    return hostkit.run_node("Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals=named, **options)[
        0
    ]


def changed_rows(after: Any, before: Any) -> list[int]:
    return (after[0][0] - before[0][0]).abs().sum((0, 2)).nonzero().flatten().tolist()


def text_encode(name: str) -> dict:
    """Our encoding against the stock one, and the rows it remembers, for prompts of every kind."""
    clip = with_embeddings(hostkit.checkpoint(name)[1])
    save_embedding("twovectors", WIDTHS[name], 2, name)
    out = {}
    for text in (
        "a dog", "", "a (dog:1.3) and ((a mug)) \\(x\\)", scenes.long_prompt(200),
        "a embedding:twovectors dog", "embedding:missing, a dog", "Ein schöner Hund, ein 犬 dog 🐶 dog",
    ):  # fmt: skip
        ours, stock = scenes.encode(clip, text), hostkit.encode(clip, text)
        record = ours[0][1]["cones2_prompt"]
        others = set(ours[0][1]) - set(stock[0][1])
        same = hostkit.identical(ours[0][0], stock[0][0]) and hostkit.identical(
            ours[0][1]["pooled_output"], stock[0][1]["pooled_output"]
        )
        out[text] = {
            "same": same and others == {"cones2_prompt"},
            "length": record.tokens.length,
            "dog": dog_rows(record),
        }
    return out


def dog_rows(record: Any) -> list[int]:
    return [token.index for token in record.tokens.tokens if token.piece.text == b"dog" and token.piece.ends_word]


def with_embeddings(clip: Any) -> Any:
    """The CLIP as CheckpointLoaderSimple gives it: its tokenizers know the embeddings folder."""
    for encoder in ("clip_l", "clip_g", "clip_h"):
        if hasattr(clip.tokenizer, encoder):
            getattr(clip.tokenizer, encoder).embedding_directory = folder_paths.get_folder_paths("embeddings")
    return clip


def save_embedding(file: str, width: int, count: int, name: str) -> None:
    folder = Path(folder_paths.get_folder_paths("embeddings")[0])
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"emb_params": torch.ones(count, width)}
    if name == "sdxl_short":
        tensors = {"clip_l": torch.ones(count, 768), "clip_g": torch.ones(count, 1280)}
    save_file(tensors, folder / f"{file}.safetensors")


def unbalanced_embedding(name: str) -> None:
    """An SD 1.x embedding in an SDXL prompt shifts the rows of one encoder only."""
    clip = with_embeddings(hostkit.checkpoint(name)[1])
    save_embedding("onlyl", 768, 3, "sd15_short")
    scenes.encode(clip, "embedding:onlyl a dog")


def apply_residual(name: str) -> dict:
    """What lands where, for one or several residuals, joined or chained."""
    _, clip, _ = hostkit.checkpoint(name)
    width = WIDTHS[name]
    text = "a hot dog and a dog, a dog"
    before = scenes.encode(clip, text)
    dog, hot, second = (
        residual("dog", width),
        residual("hot dog", width, rows=2, seed=2),
        residual("dog#2", width, seed=3),
    )
    alone = apply(before, dog)
    joined, chained = apply(before, dog, hot), apply(apply(before, dog), hot)
    stock = hostkit.encode(clip, text)
    external = apply(stock, dog, clip=clip, text=text)
    value = alone[0][0][0, 3] - before[0][0][0, 3]
    return {
        "dog": changed_rows(alone, before),
        "value": hostkit.relative_error(value, dog[0].tensor[0]),
        "joined": changed_rows(joined, before),
        "chained": hostkit.identical(chained[0][0], joined[0][0]),
        "chained after another change": altered_between(before, dog, hot),
        "second": changed_rows(apply(before, second), before),
        "two dogs": hostkit.identical(
            apply(apply(before, dog), residual("dog", width, seed=5))[0][0],
            apply(before, dog, residual("dog", width, seed=5))[0][0],
        ),
        "external": hostkit.identical(external[0][0], alone[0][0]),
        "input untouched": hostkit.identical(before[0][0], scenes.encode(clip, text)[0][0]),
        "strength": hostkit.relative_error(
            apply(before, residual("dog", width, strength=0.5))[0][0][0, 3] - before[0][0][0, 3], dog[0].tensor[0] * 0.5
        ),
        "combined": [changed_rows([after], [entry]) for after, entry in zip(*combined(clip, dog), strict=True)],
    }


def altered_between(conditioning: Any, first: tuple, second: tuple) -> float:
    """How far a conditioning that was halved and lengthened between two residuals is from its own double plus both.

    Both halves of it: what the second residual added is added in full, what the first had added stays halved.
    """
    halved = [[cond * 0.5, options] for cond, options in apply(conditioning, first)]
    longer = hostkit.run_node("ConditioningConcat", conditioning_to=halved, conditioning_from=conditioning)[0]
    found = apply(longer, second)[0][0]
    moved = apply(conditioning, first, second)[0][0] - apply(conditioning, first)[0][0]
    return hostkit.relative_error(found, torch.cat([halved[0][0] + moved, conditioning[0][0]], 1))


def combined(clip: Any, dog: tuple) -> tuple[Any, Any]:
    both = hostkit.run_node(
        "ConditioningCombine", conditioning_1=scenes.encode(clip, "a cat"), conditioning_2=scenes.encode(clip, "a dog")
    )[0]
    return apply(both, dog), both


def warned(name: str) -> dict:
    """Warnings for another CLIP skip and for another base model."""
    _, clip, _ = hostkit.checkpoint(name)
    width = WIDTHS[name]
    skipped = hostkit.run_node("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-3)[0]
    out = {}
    anchor = scenes.module("cones2.concepts.fingerprint").encoder_fingerprint
    own, other = anchor(scenes.encode(clip, "a cat")[0][0]), anchor(scenes.encode(skipped, "a cat")[0][0])
    for case, used, value in (
        ("plain", clip, residual("dog", width)),
        ("same encoder", clip, residual("dog", width, encoder_anchor=own)),
        ("skip", skipped, residual("dog", width)),
        ("trained with skip", skipped, residual("dog", width, encoder_anchor=other)),
        ("other encoder", clip, residual("dog", width, encoder_anchor=other, base_model="Skipped 1.5")),
    ):
        conditioning = scenes.encode(used, "a dog")
        with hostkit.warnings_of() as records:
            apply(conditioning, value)
        out[case] = records
    return out


def files(name: str) -> dict:
    """Save, list, load and reload residuals under every root."""
    root, _, further = (Path(path) for path in residual_roots())
    (further / "pets").mkdir(parents=True, exist_ok=True)
    torch.save(torch.randn(1, 1024, requires_grad=True), further / "pets" / "old_cat.pt")
    saved = residual("dog", 768)
    save(saved, name="kennel/rex")
    loaded = load("kennel/rex.safetensors")
    again = load("kennel/rex.safetensors", subject="puppy", strength=0.5)
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2LoadResidual"]
    stamp = node.fingerprint_inputs(file="kennel/rex.safetensors", subject="", strength=1.0)
    save(residual("dog", 768, seed=4), name="kennel/rex", overwrite=True)
    return {
        "options": node.INPUT_TYPES()["required"]["file"][1]["options"],
        "subject": [loaded[0].subject, again[0].subject, again[0].strength],
        "same": hostkit.identical(loaded[0].tensor, saved[0].tensor),
        "changed": stamp != node.fingerprint_inputs(file="kennel/rex.safetensors", subject="", strength=1.0),
        "old": load("pets/old_cat.pt")[0].subject,
        "where": (root / "kennel" / "rex.safetensors").is_file(),
        "left over": [path.name for path in (root / "kennel").iterdir() if path.name != "rex.safetensors"],
    }


def linked_folder() -> dict:
    """Save into and load from a subfolder that is a link to a folder elsewhere."""
    root, elsewhere = Path(residual_roots()[0]), Path(folder_paths.get_temp_directory(), "elsewhere")
    elsewhere.mkdir(parents=True, exist_ok=True)
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    save(residual("dog", 768), name="linked/rex")
    return {
        "there": (elsewhere / "rex.safetensors").is_file(),
        "loaded": load("linked/rex.safetensors")[0].subject,
        "left over": len(list(elsewhere.iterdir())) - 1,
    }


def residual_roots() -> list[str]:
    """All roots: models/residuals, the demo model's and one as extra_model_paths.yaml adds it."""
    further = os.path.join(folder_paths.base_path, "more", "residuals")
    folder_paths.add_model_folder_path("residuals", further)
    return folder_paths.get_folder_paths("residuals")


def fails(what: str) -> str:
    """The message of a node given something wrong; "" when it takes it."""
    model, clip, _ = hostkit.checkpoint("sd15_short")
    try:
        WRONG[what](model, clip)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def color_layout(colors: str, image: Tensor | None = None, **options: Any) -> Any:
    image = scenes.box_image({(255, 0, 0): scenes.DOG_BOX}) if image is None else image
    return hostkit.run_node("Cones2ColorLayoutToMasks", image=image, colors=colors, **options)


def masks(*values: Tensor, subjects: str = "dog") -> Any:
    named = {f"mask{index}": value for index, value in enumerate(values)}
    return hostkit.run_node("Cones2LayoutFromMasks", masks=named, subjects=subjects)[0]


def masks_weighing(weight: float) -> Any:
    return hostkit.run_node("Cones2LayoutFromMasks", masks={"mask0": torch.ones(8, 8)}, subjects="dog", weight=weight)


def boxes(value: Any, subjects: str = "dog", width: int = 100, height: int = 100) -> Any:
    return hostkit.run_node("Cones2LayoutFromBoxes", boxes=value, width=width, height=height, subjects=subjects)[0]


def load_config(name: str, clip: Any, **options: Any) -> tuple:
    return hostkit.run_node("Cones2LoadGuidanceConfig", config=name, clip=clip, **options)


def save(residual: tuple, name: str, **options: Any) -> None:
    hostkit.run_node("Cones2SaveResidual", residual=residual, name=name, **options)


def load(file: str, **options: Any) -> tuple:
    return hostkit.run_node("Cones2LoadResidual", file=file, **options)[0]


def save_below_a_file() -> None:
    save(residual(), name="a", overwrite=True)
    save(residual(), name="a.safetensors/b")


def guide_by(model: Any, clip: Any, **numbers: float) -> Any:
    return scenes.guide(model, scenes.encode(clip), scenes.layout(), **numbers)


def sample_by(model: Any, clip: Any, **numbers: float) -> Any:
    positive = scenes.encode(clip)
    return scenes.guided_ksampler(model, positive, positive, hostkit.empty_latent(64, 64), scenes.layout(), **numbers)


def train_on(images: Tensor, **inputs: Any) -> Any:
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]
    lists = {name: [value] for name, value in {**hostkit.defaults(node), **inputs}.items()}
    return hostkit.run_node("Cones2TrainResidual", **{**lists, "images": [images]})


def look(model: Any, clip: Any, **options: Any) -> Tensor:
    """IMAGE of Cones2SubjectAttention for an unguided prompt."""
    latent = hostkit.empty_latent(64, 64)
    values = dict(model=model, conditioning=scenes.encode(clip), latent=latent, scheduler="normal")
    return hostkit.run_node("Cones2SubjectAttention", **values, **options)[0]


class NoAttention(torch.nn.Module):
    """Stands for a model of another architecture."""


def other_model(model: Any) -> Any:
    other = model.clone()
    other.model = type("Flux", (), {"diffusion_model": NoAttention()})()
    return other


def shortened(model: Any, clip: Any) -> Tensor:
    """A guided prediction beside a patch that cuts the prompt."""
    guided_model, guided = scenes.guide(model, scenes.encode(clip), scenes.layout())
    guided_model.set_model_attn2_patch(lambda n, context, value, extra: (n, context[:, :9], value[:, :9]))
    return scenes.denoised(guided_model, guided, guided, scenes.noise())


class OwnSampler:
    """A sampler that is no KSAMPLER."""


NAN = torch.full((8, 8), float("nan"))
WRONG = {
    "missing subject": lambda model, clip: scenes.guide(model, scenes.encode(clip, "a cat and a mug"), scenes.layout()),
    "missing residual subject": lambda model, clip: apply(scenes.encode(clip, "a cat"), residual("dog")),
    "no tokens": lambda model, clip: scenes.guide(model, hostkit.encode(clip, "a dog and a mug"), scenes.layout()),
    "wrong text": lambda model, clip: apply(
        hostkit.encode(clip, "a dog"), residual(), clip=clip, text=scenes.long_prompt(90)
    ),
    "wrong width": lambda model, clip: apply(scenes.encode(clip, "a dog"), residual("dog", 1024)),
    "too many rows": lambda model, clip: apply(scenes.encode(clip, "a dog"), residual("dog", 768, rows=2)),
    "two residuals saved": lambda model, clip: save(residual() + residual("cat"), name="x"),
    "file exists": lambda model, clip: [save(residual(), name="twice") for _ in range(2)],
    "outside": lambda model, clip: save(residual(), name="../../evil"),
    "absent file": lambda model, clip: load("nobody.safetensors"),
    "escaping file": lambda model, clip: load("../checkpoints/sd15_short.safetensors"),
    "no table": lambda model, clip: color_layout(" \n"),
    "duplicate colors": lambda model, clip: color_layout("red = dog\n#f00 = mug"),
    "no separator": lambda model, clip: color_layout("red dog"),
    "unknown color": lambda model, clip: color_layout("reddish = dog"),
    "bad weight": lambda model, clip: color_layout("red = dog @ heavy"),
    "absent color": lambda model, clip: color_layout("red = dog\nblue = mug"),
    "NaN picture": lambda model, clip: color_layout("red = dog", torch.full((1, 8, 8, 3), float("nan"))),
    "empty mask": lambda model, clip: masks(torch.zeros(1, 8, 8)),
    "NaN mask": lambda model, clip: masks(NAN),
    "masks and subjects": lambda model, clip: masks(torch.ones(2, 8, 8)),
    "no boxes": lambda model, clip: boxes([], ""),
    "boxes and subjects": lambda model, clip: boxes({"x": 0, "y": 0, "width": 9, "height": 9}, "dog\nmug"),
    "not a box": lambda model, clip: boxes([{"x": 1, "y": 2}]),
    "flat box": lambda model, clip: boxes([{"x": 1, "y": 2, "width": 0, "height": 3}]),
    "box outside": lambda model, clip: boxes([{"x": 200, "y": 2, "width": 5, "height": 3}]),
    "other architecture": lambda model, clip: scenes.guide(other_model(model), scenes.encode(clip), scenes.layout()),
    "shortened prompt": lambda model, clip: shortened(model, clip),
    "other sampler": lambda model, clip: hostkit.run_node("Cones2SelfRecurrence", sampler=OwnSampler()),
    "absent config": lambda model, clip: load_config("nowhere.json", clip),
    "escaping config": lambda model, clip: load_config("../models/x.json", clip),
    "no such entry": lambda model, clip: load_config(write_config(), clip, entry=3),
    "name with NUL": lambda model, clip: save(residual(), name="re\0x"),
    "name with a line break": lambda model, clip: save(residual(), name="re\nx"),
    "name with half a character": lambda model, clip: save(residual(), name="pets/\ud83d"),
    "long name": lambda model, clip: save(residual(), name="ü" * 150),
    "name of a device": lambda model, clip: save(residual(), name="pets/NUL.txt"),
    "name of a port": lambda model, clip: save(residual(), name="com1"),
    "name with a dot": lambda model, clip: save(residual(), name="rex."),
    "folder with a space": lambda model, clip: save(residual(), name="pets /rex"),
    "name of a stream": lambda model, clip: save(residual(), name="rex:hidden"),
    "file as folder": lambda model, clip: save_below_a_file(),
    "hidden way out": lambda model, clip: save(residual(), name="pets\\..\\..\\evil"),
    "absolute name": lambda model, clip: save(residual(), name="/tmp/evil"),
    "file with NUL": lambda model, clip: load("re\0x"),
    "config with NUL": lambda model, clip: load_config("a\0b.json", clip),
    "long config": lambda model, clip: load_config("a" * 5000 + ".json", clip),
    "zeroth entry": lambda model, clip: load_config(write_config(), clip, entry=0),
    "no pictures": lambda model, clip: color_layout("red = dog", torch.zeros(0, 8, 8, 3)),
    "picture without pixels": lambda model, clip: color_layout("red = dog", torch.zeros(1, 0, 8, 3)),
    "five channels": lambda model, clip: color_layout("red = dog", torch.zeros(1, 8, 8, 5)),
    "flat picture": lambda model, clip: color_layout("red = dog", torch.zeros(8, 8, 3)),
    "sparse picture": lambda model, clip: color_layout("red = dog", torch.ones(1, 8, 8, 3).to_sparse()),
    "NaN tolerance": lambda model, clip: color_layout("red = dog", tolerance=float("nan")),
    "NaN weight": lambda model, clip: masks_weighing(float("nan")),
    "no masks": lambda model, clip: masks(torch.ones(0, 8, 8)),
    "mask without cells": lambda model, clip: masks(torch.ones(1, 0, 0)),
    "mask of one row": lambda model, clip: masks(torch.ones(8)),
    "sparse mask": lambda model, clip: masks(torch.ones(1, 8, 8).to_sparse()),
    "400 digits": lambda model, clip: boxes({"x": 10**400, "y": 0, "width": 9, "height": 9}),
    "5000 digits": lambda model, clip: boxes([{"x": 0, "y": 0, "width": 10**5000, "height": 9}]),
    "NaN box": lambda model, clip: boxes({"x": float("nan"), "y": 0, "width": 9, "height": 9}),
    "NaN strength": lambda model, clip: load("kennel/rex.safetensors", strength=float("nan")),
    "NaN guidance": lambda model, clip: guide_by(model, clip, guidance_weight=float("nan")),
    "NaN percent": lambda model, clip: guide_by(model, clip, end_percent=float("nan")),
    "infinite outside": lambda model, clip: sample_by(model, clip, outside_weight=float("-inf")),
    "NaN cfg": lambda model, clip: sample_by(model, clip, cfg=float("nan")),
    "photos without pixels": lambda model, clip: train_on(torch.ones(3, 0, 8, 3), model=model, clip=clip),
    "photos of five channels": lambda model, clip: train_on(torch.ones(3, 8, 8, 5), model=model, clip=clip),
    "nothing to look for": lambda model, clip: look(model, clip),
    "no steps": lambda model, clip: look(model, clip, subjects="dog", first_step=30),
}  # fmt: skip


def write_config() -> str:
    """A published config with its layout and one residual beside it, the other in models/residuals."""
    folder = Path(folder_paths.get_input_directory()) / "published"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {
        "prompt": "a mug and a dog on the beach, a dog",
        "residual_dict": {"<dog>": "residuals/dog.pt", "mug": "residuals/mug_of_mine.pt", "barn": "residuals/barn.pt"},
        "color_context": {"255,192,0": ["mug", 2.5], "255,0,0": ["dog", 3]},
        "guidance_steps": 12,
        "guidance_weight": 0.06,
        "weight_negative": -1e6,
        "layout": "layouts/layout.png",
        "subject_list": [["mug", 2], ["<dog>", 5]],
    }
    (folder / "guidance_config.json").write_text(json.dumps([entry, entry]))
    picture = scenes.box_image({(255, 0, 0): scenes.DOG_BOX, (255, 192, 0): scenes.MUG_BOX})[0]
    Image.fromarray((picture * 255).byte().numpy()).save(folder / "layout.png")
    torch.save(torch.ones(1, 768), folder / "dog.pt")
    torch.save(torch.ones(1, 768), Path(folder_paths.get_folder_paths("residuals")[0]) / "mug_of_mine.pt")
    return "published/guidance_config.json"


def config(name: str) -> dict:
    _, clip, _ = hostkit.checkpoint(name)
    path = write_config()
    prompt, residuals, layout, weight, steps, outside = load_config(path, clip, entry=2)
    conditioning = apply(scenes.encode(clip, prompt), residuals)
    return {
        "prompt": prompt,
        "subjects": [str(value.reference) for value in residuals],
        "regions": [(region.subject, region.weight) for region in layout.regions],
        "numbers": [weight, steps, outside],
        "rows": changed_rows(conditioning, scenes.encode(clip, prompt)),
        "listed": path
        in hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2LoadGuidanceConfig"].INPUT_TYPES()["required"]["config"][1][
            "options"
        ],
    }


def config_stamps() -> dict:
    """What Load Guidance Config watches: for one entry, for all, and of a config that is too large to be loaded."""
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2LoadGuidanceConfig"]
    path = write_config()
    folder = Path(folder_paths.get_input_directory()) / "published"
    entries = json.loads((folder / "guidance_config.json").read_text())
    entries[1] = {**entries[1], "layout": "other.png"}
    (folder / "guidance_config.json").write_text(json.dumps(entries))
    (folder / "other.png").write_bytes((folder / "layout.png").read_bytes())
    huge = folder / "huge.json"
    huge.write_text(json.dumps(entries) + " " * (8 << 20))

    def watched(config: str, **entry: int) -> list[str]:
        return sorted({Path(stamp[0]).name for stamp in node.fingerprint_inputs(config=config, **entry)})

    try:
        with hostkit.warnings_of() as warnings:
            found = {
                "first": watched(path, entry=1),
                "second": watched(path, entry=2),
                "linked": watched(path),
                "huge": watched("published/huge.json", entry=1),
            }
        return {**found, "warnings": list(warnings)}
    finally:
        huge.unlink()


def layouts() -> dict:
    """Layouts from colors, masks and boxes in every form the host hands out."""
    box = {"x": 10, "y": 20, "width": 30, "height": 40}
    other = {"x": 60, "y": 5, "width": 30, "height": 90, "label": "mug", "score": 0.9}
    layout, masks_out, preview = color_layout(
        "255,0,0 = dog @ 4\n", torch.cat([scenes.box_image({(255, 0, 0): scenes.DOG_BOX})] * 2), weight=1.5
    )
    with_alpha = color_layout(
        "red = dog", torch.cat([scenes.box_image({(255, 0, 0): scenes.DOG_BOX}), torch.ones(1, 96, 128, 1)], -1)
    )[0]
    single = boxes(box)
    return {
        "weight": layout.regions[0].weight,
        "masks": [list(masks_out.shape), float(masks_out.mean())],
        "preview": [list(preview.shape), float(preview.min()) >= 0, float(preview.max()) <= 1],
        "alpha": hostkit.identical(with_alpha.regions[0].mask, layout.regions[0].mask),
        "box": [int(single.regions[0].mask.sum()), bool(single.regions[0].mask[20:60, 10:40].all())],
        "lists": [boxes(value, "dog\nmug").subjects for value in ([box, other], [[box, other]], [[box, other], [box]])],
        "batch": masks(torch.ones(2, 8, 8), torch.ones(6, 6), subjects="dog\nmug\ncat @ 3").subjects,
    }


def attention(name: str) -> dict:
    """Heat maps after a run: a guided subject is looked at in its region."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, latent = scenes.encode(clip), {"samples": scenes.noise(2)}
    guided_model, guided = scenes.guide(model, positive, scenes.layout())

    def inside(model: Any, conditioning: Any, subjects: str) -> list[float]:
        (pictures,) = hostkit.run_node(
            "Cones2SubjectAttention",
            model=model,
            conditioning=conditioning,
            latent=latent,
            scheduler="normal",
            subjects=subjects,
            steps=4,
            last_step=2,
        )
        heat = pictures[0].sum(-1)[-384:]
        regions = scenes.layout().regions[0].mask
        mask = torch.nn.functional.interpolate(regions[None, None].float(), tuple(heat.shape))[0, 0] > 0
        return [list(pictures.shape), float(heat[mask].mean() / heat[~mask].mean())]

    return {"guided": inside(guided_model, guided, ""), "plain": inside(model, positive, "dog\nmug")}
