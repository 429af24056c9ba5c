"""Drivers for the nodes that read text, residuals, pictures, masks, boxes and configs."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import folder_paths
import hostkit
import scenes
import torch
from comfy_extras import nodes_bounding_boxes as host_boxes
from node_calls import (
    apply,
    boxes,
    changed_rows,
    color_layout,
    load,
    load_config,
    masks,
    residual,
    residual_roots,
    save,
    write_config,
)
from safetensors.torch import save_file

WIDTHS = {"sd15_short": 768, "sd21_short": 1024, "sdxl_short": 2048}


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
        ("forged", clip, residual("dog", width, encoder_anchor=other, base_model="x\n[INFO] \x1b[2J" + "y" * 9999)),
    ):
        conditioning = scenes.encode(used, "a dog")
        with hostkit.warnings_of() as records:
            apply(conditioning, value)
        out[case] = records
    return out


def files(name: str) -> dict:
    """Save, list, load and reload residuals under every root."""
    root, further = (Path(path) for path in residual_roots())
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


def first_start() -> dict:
    """What lies in `models/residuals` after the first start, and what Load Residual lists of it."""
    folders, known = scenes.module("nodes.host.folders"), {"residuals": ([], set())}
    with tempfile.TemporaryDirectory() as models:
        with (
            mock.patch.object(folder_paths, "models_dir", models),
            mock.patch.object(folder_paths, "folder_names_and_paths", known),
            mock.patch.object(folder_paths, "filename_list_cache", {}),
        ):
            folders.add_residual_folder()
            folders.add_residual_folder()
            listed = {name.partition("/")[0] for name in folders.residual_files()}
        return {"there": os.listdir(Path(models, "residuals")), "listed": sorted(listed)}


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


def elements() -> dict:
    """A layout from what the host's own editor of boxes gives; the third box has no description."""
    drawn = [
        {"x": 20, "y": 0, "width": 100, "height": 40, "metadata": {"desc": "dog ", "palette": ["#FF0000", "#00ff00"]}},
        {
            "x": 0,
            "y": 100,
            "width": 50,
            "height": 100,
            "metadata": {"type": "text", "text": "x", "desc": "red mug @ 3"},
        },
        {"x": 60, "y": 120, "width": 40, "height": 60, "metadata": {"desc": "", "palette": ["#00F"]}},
    ]
    given = host_boxes.build_elements(host_boxes.boxes_to_regions(drawn, 100, 200))
    layout = boxes(None, "first\nsecond\ncat @ 4", 100, 200, elements=given)

    def edges(mask: torch.Tensor) -> list[int]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        return [int(columns[0]), int(rows[0]), len(columns), len(rows)]

    return {
        "regions": [[region.subject, region.weight, region.color] for region in layout.regions],
        "boxes": [edges(region.mask) for region in layout.regions],
        "canvas": [layout.height, layout.width],
    }


def tables() -> dict:
    """What the layout nodes say of typed tables before they run."""
    nodes = hostkit.nodes.NODE_CLASS_MAPPINGS
    kinds = {
        "Cones2ColorLayoutToMasks": "colors",
        "Cones2LayoutFromMasks": "subjects",
        "Cones2LayoutFromBoxes": "subjects",
    }

    def said(colors: str | None, subjects: str | None) -> list:
        text = {"colors": colors, "subjects": subjects}
        return [nodes[kind].validate_inputs(**{name: text[name]}) for kind, name in kinds.items()]

    return {
        "good": said("red = dog\n", "dog @ 3"),
        "from another node": said(None, None),
        "bad": said("red dog", "dog @ heavy"),
        "twice": said("red = dog\n#f00 = mug", "")[0],
    }


def attention(name: str) -> dict:
    """Heat maps after a run: a guided subject is looked at in its region."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, latent = scenes.encode(clip), {"samples": scenes.noise(2)}
    guided_model, guided = scenes.guide(model, positive, scenes.layout())

    def inside(model: Any, conditioning: Any, subjects: str) -> list[float]:
        settings = {"scheduler": "normal", "subjects": subjects, "steps": 4, "last_step": 2}
        (pictures,) = hostkit.run_node(
            "Cones2SubjectAttention", model=model, conditioning=conditioning, latent=latent, **settings
        )
        heat = pictures[0].sum(-1)[-384:]
        regions = scenes.layout().regions[0].mask
        mask = torch.nn.functional.interpolate(regions[None, None].float(), tuple(heat.shape))[0, 0] > 0
        return [list(pictures.shape), float(heat[mask].mean() / heat[~mask].mean())]

    return {"guided": inside(guided_model, guided, ""), "plain": inside(model, positive, "dog\nmug")}
