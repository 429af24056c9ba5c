"""The method at a glance, on the toy world: two subjects learned from photos and painted into place.

    python -m tools.demo [--out demo] [--count 16]

Learns two residual embeddings from five pictures and a description each, paints a layout, samples the same seeds with
and without both, lets the toy world's detector count what came out, and writes one picture of it all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from tqdm import tqdm

from cones2.assets import TOYWORLD
from cones2.concepts.residual import Residual
from cones2.concepts.residual_file import save_residual
from cones2.diffusers_models.latent_model import DiffusersModel, to_images
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.cases import Subject
from cones2.evaluation.scores import Scores, scores
from cones2.evaluation.toyworld.detector import detect, load_detector
from cones2.evaluation.toyworld.judging import verdict
from cones2.evaluation.toyworld.sampling import pixels
from cones2.evaluation.toyworld.suites import described
from cones2.guidance.heat_maps import AttentionRecorder
from cones2.layout.colors import parse_color
from cones2.layout.painted import ColorEntry, layout_from_colors
from cones2.layout.regions import Layout
from cones2.prompt.claims import PhraseRef, locate_subjects
from cones2.prompt.tokens import Span
from cones2.sampling.settings import SamplingSettings
from cones2.scene import compose
from cones2.storage.files import write_atomically
from cones2.storage.png import write_png
from cones2.training.views import load_photos
from tools.demo_picture import Row, overview, photo_row

from .toyworld.residuals import learn_subject

PROMPT = "a photo of a mug and a dog on the beach"
CAST = {"mug": "purple_yellow_mug", "dog": "blue_white_dog"}
COLORS = {"mug": parse_color("#ffc000"), "dog": parse_color("#e03030")}
LAYOUT_SIDE = 256
STEPS, CFG = 16, 4.0


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to sample the same prompt and seeds, and what came out of it.

    attention: [subjects, h, w].
    in_place: share of the subjects whose center is in their region.
    own_colors: share of the subjects in both colors of their photos.
    """

    title: str
    layout: Layout | None
    pictures: Sequence[Image.Image]
    attention: Tensor
    in_place: float
    own_colors: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--count", type=int, default=16, help="pictures per row of the table")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = load_model(TOYWORLD, device="cpu")
    residuals = {word: learn(model, word, args.out) for word in CAST}
    words = list(CAST)
    painted = paint_layout(args.out / "layout.png", words)
    exchanged = paint_layout(args.out / "layout_exchanged.png", words[::-1])
    plan: list[tuple[str, dict[str, Residual], Layout | None, Layout]] = [
        ("the words alone", {}, None, painted),
        ("with residuals", residuals, None, painted),
        ("residuals and layout", residuals, painted, painted),
        ("regions exchanged", residuals, exchanged, exchanged),
    ]
    print(f'\n"{PROMPT}", {args.count} seeds, judged by the toy world\'s detector')
    print(f"{'':22}{'in its region':>16}{'in its own colors':>20}")
    arms = []
    for title, added, layout, followed in plan:
        arms.append(sample(model, title, added, layout, followed, range(args.count)))
        print(f"{title:22}{arms[-1].in_place:16.0%}{arms[-1].own_colors:20.0%}", flush=True)
    write_overview(args.out / "demo.png", painted, arms)


def learn(model: DiffusersModel, word: str, out: Path) -> Residual:
    """Train the subject's residual on its five pictures and a description of it, and save it."""
    name = CAST[word]
    with tqdm(desc=f"learning {name}", unit="step") as bar:

        def show(step: int, steps: int) -> None:
            bar.total = steps
            bar.update()

        residual = learn_subject(model, name, TOYWORLD / "subjects" / name, show, description=described(name))
    path = save_residual(residual, out / f"{name}.safetensors", overwrite=True)
    print(f"{path}: {path.stat().st_size} bytes, after {residual.metadata['steps']} steps")
    return residual


def paint_layout(path: Path, words: Sequence[str]) -> Layout:
    """Paint a layout as a user would, a color per subject on white (the first on the left), and read it."""
    picture = Image.new("RGB", (LAYOUT_SIDE, LAYOUT_SIDE), "white")
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((10, 56, 118, 200), radius=16, fill=COLORS[words[0]])
    draw.rounded_rectangle((136, 56, 246, 200), radius=16, fill=COLORS[words[1]])
    write_atomically(path, lambda stream: picture.save(stream, "PNG"), overwrite=True)
    return layout_from_colors(Image.open(path), [ColorEntry(COLORS[word], word) for word in CAST])


def sample(
    model: DiffusersModel,
    title: str,
    residuals: dict[str, Residual],
    layout: Layout | None,
    followed: Layout,
    seeds: range,
) -> Arm:
    """Sample the prompt and judge the pictures by the regions of `followed`."""
    scene = compose(model, PROMPT, list(residuals.values()), layout)
    recorder = AttentionRecorder(subject_tokens(model), (model.default_size // model.vae_scale_factor,) * 2)
    settings = SamplingSettings(steps=STEPS, cfg=CFG, seeds=seeds, height=model.default_size, width=model.default_size)
    latents = model.sample(scene, settings, observer=recorder.observe)
    decoded = model.decode(latents)
    figures = judged(pixels(decoded), followed)
    shares = (figures.in_place.value, figures.own.value)
    return Arm(title, layout, to_images(decoded), recorder.heat_maps(), *shares)


def subject_tokens(model: DiffusersModel) -> list[Span]:
    """The tokens of each subject in the prompt."""
    (prompt,) = model.encode_prompts(PROMPT)
    claims = locate_subjects(prompt.tokens, [PhraseRef(word) for word in CAST], model.tokenize)
    return [claim.token_indices for claim in claims]


def judged(pictures: Tensor, layout: Layout) -> Scores:
    """The figures of pictures [B, 3, H, W] in [0, 1] whose subjects belong where the layout says."""
    subjects = [Subject(region.subject, CAST[region.subject], place=region.mask) for region in layout.regions]
    found = detect(load_detector(TOYWORLD / "detector.safetensors"), pictures)
    return scores([verdict(sight, subjects) for sight in found])


def write_overview(path: Path, layout: Layout, arms: Sequence[Arm]) -> None:
    """The picture that explains it all; the samples are the first seeds, not chosen ones."""
    photos = [
        photo_row(word, COLORS[word], [photo.picture for photo in load_photos(TOYWORLD / "subjects" / name)])
        for word, name in CAST.items()
    ]
    sampled = [
        Row(f"{arm.title}\nin place {arm.in_place:.0%}\nown colors {arm.own_colors:.0%}", arm.layout, arm.pictures)
        for arm in arms
    ]
    free, guided = arms[1].attention, arms[2].attention
    picture = overview(photos, sampled, list(CAST), free, guided)
    write_atomically(path, lambda stream: write_png(picture, stream, {"prompt": PROMPT}), overwrite=True)
    print(f"\n{path}: photos, samples and attention at a glance (first seeds, not chosen)")


if __name__ == "__main__":
    main()
