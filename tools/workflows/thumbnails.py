"""The templates' pictures in the template menu: what they draw, with the regions over it.

    python -m tools.workflows.thumbnails [NAME…]

Runs each template on a ComfyUI as it is, on seed 0; those that need a checkpoint run on the demo model, with a scene
that it knows. Four pictures of each of four seeds are counted by the demo model's detector, and the figures printed;
the first of seed 0 are shown, whatever they look like.
"""

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from cones2.assets import TOYWORLD
from cones2.evaluation.cases import Subject
from cones2.evaluation.scores import scores
from cones2.evaluation.toyworld.detector import detect, load_detector
from cones2.evaluation.toyworld.judging import verdict
from cones2.layout.colors import parse_color
from cones2.layout.document import parse_document
from tests.host.client.browser import Browser
from tests.host.client.server import HostServer
from tests.host.client.workflows import read_workflow

from .build import PACK, open_frontend
from .parts import DEMO_SAMPLING, DEMO_SIDE, document
from .photos import LOOKS, TOY_PHOTOS
from .scenes import ALONE, BESIDE, CONCEPTS, DIAGONAL, LEARNED, START, THREE, DemoScene

SIDE, GAP = 640, 8
SEEDS, BATCH = range(4), 4
Prompt = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """How a template's thumbnail is made.

    scene: what its pictures show.
    tiles: pictures side by side and below each other.
    photos: how many of the photos that were learned from stand above the pictures.
    looks: the subjects' names, of those without a residual.
    """

    scene: DemoScene
    tiles: int = 1
    photos: int = 0
    on_demo_model: bool = False
    looks: Sequence[str] = ()


TEMPLATES = {
    "1 Start here": Template(START, tiles=2),
    "2 Your checkpoint": Template(BESIDE, on_demo_model=True),
    "3 Photos to picture": Template(ALONE, photos=len(TOY_PHOTOS), on_demo_model=True),
    "4 Published config": Template(DIAGONAL, tiles=2),
    "5 Three subjects and a second pass": Template(THREE, on_demo_model=True),
    "6 Photos and places.app": Template(LEARNED, photos=len(TOY_PHOTOS)),
    "7 Two trained concepts": Template(CONCEPTS, tiles=2, looks=("green_purple_ball", "red_yellow_fish")),
}


def prompt_of(browser: Browser, name: str, template: Template, seed: int) -> Prompt:
    """What Run would send, with a seed and the number of pictures that are counted."""
    browser.call("load", read_workflow(PACK / "workflows" / f"{name}.json"))
    prompt: Prompt = browser.call("prompt")["output"]
    for node in prompt.values():
        inputs = node["inputs"]
        if "seed" in inputs and node["class_type"] == "Cones2LayoutGuidedKSampler":
            inputs["seed"] = seed
        if "batch_size" in inputs and node["class_type"] in ("Cones2Scene", "EmptyLatentImage"):
            inputs["batch_size"] = BATCH
    return on_demo_model(prompt, template.scene) if template.on_demo_model else prompt


def on_demo_model(prompt: Prompt, scene: DemoScene) -> Prompt:
    """A template for checkpoints, on the demo model and a scene that it knows."""
    trains = any(node["class_type"] == "Cones2TrainResidual" for node in prompt.values())
    subjects = [each if not trains else type(each)(each.word, each.box, "", each.color) for each in scene.subjects]
    drawn = {
        "prompt": scene.prompt, "negative_prompt": "", "width": DEMO_SIDE, "height": DEMO_SIDE,
        "layout_document": document(subjects),
    }  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        "Cones2Scene": drawn,
        "Cones2LayoutGuidedKSampler": DEMO_SAMPLING,
        "Cones2TrainResidual": {"description": LOOKS},
        "LatentUpscaleBy": {"scale_by": 1.0},  # the demo model draws things twice in larger pictures
    }
    photos = iter(TOY_PHOTOS)
    changed: Prompt = {}
    for key, node in prompt.items():
        inputs = node["inputs"] | changes.get(node["class_type"], {})
        if node["class_type"] == "LoadImage":
            inputs |= {"image": next(photos)}
        if node["class_type"] == "CheckpointLoaderSimple":
            changed[key] = node | {"class_type": "Cones2LoadDemoModel", "inputs": {}}
        else:
            changed[key] = node | {"inputs": inputs}
    return changed


def pictures_of(server: HostServer, prompt: Prompt) -> list[Image.Image]:
    """The pictures that a run saves."""
    run = server.run(prompt, 3600)
    assert run.status == "success", run.error
    saving = [key for key, node in prompt.items() if node["class_type"] == "SaveImage"]
    images = [image for key in saving for image in run.outputs[key]["images"]]
    return [Image.open(io.BytesIO(server.image(image))).convert("RGB") for image in images]


def figures(pictures: Sequence[Image.Image], scene: DemoScene, names: Sequence[str] = ()) -> str:
    """How many subjects are in their regions, and in the colors of their photos."""
    layout = parse_document(document(scene.subjects)).layout(DEMO_SIDE, DEMO_SIDE)
    looks = names or [each.residual.removeprefix("demo/").removesuffix(".safetensors") for each in scene.subjects]
    subjects = [
        Subject(region.subject.split()[-1], look, place=region.mask)
        for region, look in zip(layout.regions, looks, strict=True)
    ]
    small = [picture.resize((DEMO_SIDE, DEMO_SIDE), Image.Resampling.BOX) for picture in pictures]
    batch = torch.from_numpy(np.stack([np.asarray(each, dtype=np.float32) / 255 for each in small])).movedim(-1, 1)
    found = scores(
        [verdict(sight, subjects) for sight in detect(load_detector(TOYWORLD / "detector.safetensors"), batch)]
    )
    return f"in place {found.in_place.value:.0%}, own colors {found.own.value:.0%} of {len(pictures)} pictures"


def outlined(picture: Image.Image, scene: DemoScene, side: int) -> Image.Image:
    """The picture with its regions and their names."""
    out = picture.resize((side, side), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(out)
    thick, font = max(2, side // 110), ImageFont.load_default(max(15, side // 18))
    for subject in scene.subjects:
        left, top, width, height = (round(part * side) for part in subject.box)
        draw.rectangle((left, top, left + width, top + height), outline=(20, 20, 20), width=thick + 2)
        draw.rectangle((left + 1, top + 1, left + width - 1, top + height - 1), outline=subject.color, width=thick)
        box = draw.textbbox((left + thick + 2, top + thick + 2), subject.word, font)
        pad = thick + 2
        draw.rectangle((left, top, box[2] + pad, box[3] + pad), fill=subject.color)
        text = (20, 20, 20) if sum(parse_color(subject.color)) > 300 else (255, 255, 255)
        draw.text((left + thick + 2, top + thick + 2), subject.word, text, font)
    return out


def thumbnail(pictures: Sequence[Image.Image], template: Template) -> Image.Image:
    """A square: pictures in tiles, below the photos they were learned from if there are any."""
    out = Image.new("RGB", (SIDE, SIDE), "white")
    strip = 0
    if template.photos:
        strip = (SIDE - 2 * GAP) // 3 + GAP
        for number in range(template.photos):
            path = TOYWORLD / "subjects" / "blue_white_dog" / f"{number + 1}.png"
            small = Image.open(path).convert("RGB").resize((strip - GAP, strip - GAP), Image.Resampling.LANCZOS)
            out.paste(small, (number * strip, 0))
    side = (SIDE - strip - (template.tiles - 1) * GAP) // template.tiles
    for index, picture in enumerate(pictures[: template.tiles**2]):
        row, column = divmod(index, template.tiles)
        left = (SIDE - template.tiles * (side + GAP) + GAP) // 2
        out.paste(outlined(picture, template.scene, side), (left + column * (side + GAP), strip + row * (side + GAP)))
    return out


def make(browser: Browser, server: HostServer, name: str, seeds: Sequence[int]) -> None:
    template = TEMPLATES[name]
    drawn = [pictures_of(server, prompt_of(browser, name, template, seed)) for seed in seeds]
    picture = thumbnail(drawn[0], template)
    picture.save(PACK / "workflows" / f"{name}.jpg", "JPEG", quality=88, optimize=True)
    print(f"{name}: {figures([each for group in drawn for each in group], template.scene, template.looks)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the pack's templates on a real ComfyUI.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(TEMPLATES)}; all by default")
    chosen = parser.parse_args().names or list(TEMPLATES)
    with open_frontend() as (browser, server):
        for name in chosen:
            make(browser, server, name, SEEDS)


if __name__ == "__main__":
    main()
