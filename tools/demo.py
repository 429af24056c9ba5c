"""The method at a glance: two subjects, a painted layout, and where the model looks, without and with guidance.

    python tools/demo.py [--out demo]

Runs the whole engine on a tiny model with random weights, so the sampled pictures are noise. What
it shows is real: the layout as it is read from a picture, the cross-attention of each subject's
token over all layers and steps, and how much of it falls inside the subject's region.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cones2.attention_maps import AttentionRecorder, share_inside
from cones2.colours import parse_colour
from cones2.files import write_atomically
from cones2.layout import ColourEntry, Layout, layout_from_colours
from cones2.pictures import grid, heat_picture, labelled, layout_picture, write_png
from cones2.pipelines.scene import GuidanceNumbers, Scene, compose
from cones2.pipelines.stable_diffusion import SamplingSettings, StableDiffusion, to_images
from cones2.residual import load_residual, make_residual, save_residual
from cones2.schedule import scaled_linear_alphas
from cones2.tokens import locate_subjects

PROMPT = "a mug and a dog on the beach"
TABLE = (ColourEntry(parse_colour("#ffc000"), "mug"), ColourEntry(parse_colour("#ff0000"), "dog"))
WIDTH, SIDE, STEPS = 64, 256, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out: Path = parser.parse_args().out
    torch.manual_seed(0)
    model = tiny_model()
    paint_layout(out / "layout.png")
    layout = layout_from_colours(Image.open(out / "layout.png"), TABLE)
    scene = make_scene(model, layout, out)
    free, free_image = run(model, scene, layout, guided=False)
    guided, guided_image = run(model, scene, layout, guided=True)
    report(layout, free, guided)
    picture = overview(layout, free, guided, [free_image, guided_image])
    write_atomically(
        out / "demo.png", lambda stream: write_png(picture, stream, {"prompt": PROMPT, "steps": STEPS}), overwrite=True
    )
    print(f"\n{out / 'demo.png'}: the layout and the attention maps.")
    print("The model is tiny and has random weights: its sampled pictures are noise.")


def tiny_model() -> StableDiffusion:
    """Stable Diffusion's architecture with few channels, random weights and a tokenizer for one prompt."""
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4, 4),
    )
    for name, parameter in unet.named_parameters():
        if ".attn2.to_q" in name or ".attn2.to_k" in name:
            parameter.data *= 4  # untrained attention is flat; a trained one has preferences
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=16,
        latent_channels=4,
    )
    tokenizer = word_tokenizer(PROMPT)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    parts = [part.eval().requires_grad_(False) for part in (text_encoder, unet, vae)]
    return StableDiffusion(tokenizer, *parts, scaled_linear_alphas(), "v_prediction")


def word_tokenizer(prompt: str) -> CLIPTokenizer:
    """A CLIP tokenizer whose merges build just the words of one prompt."""
    merges: list[tuple[str, str]] = []
    pieces = [f"{letter}{end}" for end in ("", "</w>") for letter in "abcdefghijklmnopqrstuvwxyz"]
    for word in dict.fromkeys(prompt.split()):
        built = word[0]
        for index, letter in enumerate(word[1:], start=2):
            piece = letter + ("</w>" if index == len(word) else "")
            merges.append((built, piece))
            built += piece
            pieces.append(built)
    vocabulary = {
        piece: index for index, piece in enumerate([*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"])
    }
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def paint_layout(path: Path) -> None:
    """A layout as a user would paint it: a colour per subject on white."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((16, 96, 104, 208), radius=16, fill=TABLE[0].colour)
    draw.ellipse((136, 64, 244, 220), fill=TABLE[1].colour)
    write_atomically(path, lambda stream: picture.save(stream, "PNG"), overwrite=True)


def make_scene(model: StableDiffusion, layout: Layout, out: Path) -> Scene:
    """The prompt with a residual per subject, saved and loaded as files, and the layout bound to it."""
    prompt, negative = model.encode_prompts(PROMPT, "")
    claims = locate_subjects(prompt.tokens, layout.subjects, model.tokenise)
    residuals = []
    for claim in claims:
        vector = 0.3 * torch.randn(1, WIDTH)
        path = save_residual(make_residual(claim.phrase, vector), out / f"{claim.phrase}.safetensors", overwrite=True)
        residuals.append((load_residual(path), claim.occurrences))
    return compose(model, prompt, negative, residuals, layout, GuidanceNumbers(), claims)


def run(model: StableDiffusion, scene: Scene, layout: Layout, guided: bool) -> tuple[Tensor, Image.Image]:
    """Sample once; the mean attention map of each subject, and the picture."""
    rows = [[row for rows in claim.occurrences for row in rows] for claim in scene.claims]
    recorder = AttentionRecorder(rows, (SIDE // 8, SIDE // 8))
    settings = SamplingSettings(steps=STEPS, height=SIDE, width=SIDE)
    guidance = scene.guidance if guided else None
    latents = model.sample(scene.positive, scene.negative, guidance, settings, observer=recorder.observe)
    return recorder.heat_maps(), to_images(model.decode(latents))[0]


def report(layout: Layout, free: Tensor, guided: Tensor) -> None:
    """Print the share of each subject's attention inside its region."""
    print(f'"{PROMPT}", {STEPS} steps; share of a subject\'s attention inside its region:\n')
    print("subject   region   without guidance   with guidance")
    for region, before, after in zip(layout.regions, free, guided, strict=True):
        shares = share_inside(before, region.mask), share_inside(after, region.mask)
        print(f"{region.subject:8}  {region.share:6.1%}   {shares[0]:16.1%}   {shares[1]:13.1%}")


def overview(layout: Layout, free: Tensor, guided: Tensor, images: list[Image.Image]) -> Image.Image:
    """Layout and noise pictures above, heat maps below; each subject's two maps share one scale."""
    cells = [labelled(layout_picture(layout, SIDE, SIDE), "layout")]
    cells += [labelled(image, f"{how} guidance: noise") for image, how in zip(images, ("without", "with"), strict=True)]
    for region, before, after in zip(layout.regions, free, guided, strict=True):
        mask = Image.fromarray(region.mask.numpy()).convert("L").resize((SIDE, SIDE))
        outline = Image.new("RGB", (SIDE, SIDE), "white")
        outline.paste(region.colour or (0, 0, 0), mask=mask)
        cells.append(labelled(outline, f'region of "{region.subject}"'))
        for heat, how in ((before, "without"), (after, "with")):
            cells.append(
                labelled(heat_picture(heat, SIDE, SIDE, float(after.max())), f'"{region.subject}" {how} guidance')
            )
    return grid(cells, columns=3)


if __name__ == "__main__":
    main()
