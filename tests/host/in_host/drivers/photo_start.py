"""Drivers for starts from photos: what reaches the sampler, and what stays as it was."""

import logging
from contextlib import contextmanager
from typing import Any

import comfy.sample
import comfy.samplers
import hostkit
import scenes
import torch
from sampling_runs import LATENT, custom
from torch import Tensor

COLORS = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
AMOUNT = 8.0
BOXES = {"dog": (0.0, 0.0, 1.0, 0.5), "mug": (0.0, 0.5, 1.0, 1.0)}  # left half, right half


def prompt(name: str, photos: int = 1) -> tuple[Any, Any, Any, Any, Any]:
    """MODEL, VAE, positive with a residual "dog" that has so many cut-outs, negative, layout."""
    model, clip, vae = hostkit.checkpoint(name)
    plain = scenes.encode(clip)
    cutouts = [
        scenes.module("cones2.concepts.cutout").CutOut(
            torch.tensor((*color, 1.0))[:, None, None].expand(4, 16, 16).clone()
        )
        for color in COLORS[:photos]
    ]
    make = scenes.module("cones2.concepts.residual").make_residual
    residual = make("dog", torch.zeros(1, plain[0][0].shape[-1])).with_cutouts(cutouts)
    positive = hostkit.run_node(
        "Cones2ApplyResidualToConditioning", conditioning=plain, residuals={"residual0": (residual,)}
    )[0]
    return model, vae, positive, hostkit.encode(clip, "blurry"), scenes.layout(**BOXES)


def first_x(model: Any, positive: Any, negative: Any, latent: dict, sigmas: Tensor | None = None) -> Tensor:
    """What the sampler function is given."""
    seen = []

    def function(denoiser: Any, x: Tensor, sigmas: Tensor, **_: Any) -> Tensor:
        seen.append(x.clone())
        return x

    if sigmas is None:
        sigmas = hostkit.run_node("BasicScheduler", model=model, scheduler="normal", steps=2, denoise=1.0)[0]
    samples = latent["samples"]
    noise = comfy.sample.prepare_noise(samples, 7)
    with torch.inference_mode():
        comfy.sample.sample_custom(
            model, noise, 1.0, comfy.samplers.KSAMPLER(function), sigmas, positive, negative, samples,
            noise_mask=latent.get("noise_mask"), disable_pbar=True, seed=7,
        )  # fmt: skip
    return seen[0]


@contextmanager
def said() -> Any:
    """All that the pack logs in the block."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(scenes.module("nodes.text").__name__.removesuffix(".nodes.text"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def shift(name: str) -> dict:
    """The first x of a run with and without photos, against the formula written out."""
    model, vae, positive, negative, layout = prompt(name)
    latent = hostkit.empty_latent(*LATENT)  # 128 wide, 96 high
    with hostkit.warnings_of() as warnings:
        started = first_x(*scenes.guide(model, positive, layout, photo_start=AMOUNT, vae=vae), negative, latent)
    plain = first_x(*scenes.guide(model, positive, layout), negative, latent)
    picture = torch.full((1, 96, 128, 3), 0.5)
    picture[:, 16:80, :64] = torch.tensor(COLORS[0])  # 64 x 64 in the middle of the left half
    with torch.inference_mode():
        latents = model.model.process_latent_in(vae.encode(picture))
    sigma = hostkit.run_node("BasicScheduler", model=model, scheduler="normal", steps=2, denoise=1.0)[0][0]
    expected = torch.zeros_like(plain)
    expected[..., 2:10, :8] = AMOUNT / 14.6146 * latents[..., 2:10, :8] * (1 + sigma**2).sqrt()
    outside = expected == 0
    return {
        "error": hostkit.relative_error(started - plain, expected),
        "outside": bool(torch.equal(started[outside], plain[outside])),
        "warnings": [line for line in warnings if "photo_start" in line],
    }


def samplers(name: str, sampler_names: list[str]) -> dict:
    """Both nodes with each sampler, recurrent or not: that they agree, and how far photos move the picture."""
    model, vae, positive, negative, layout = prompt(name)
    latent = hostkit.empty_latent(*LATENT)
    photos = {"photo_start": AMOUNT, "vae": vae}
    guided_model, guided = scenes.guide(model, positive, layout, **photos)
    found = {}
    for sampler in sampler_names:
        options = {"sampler_name": sampler, "steps": 3}
        node = scenes.guided_ksampler(model, positive, negative, latent, layout, **options, **photos)
        plain = scenes.guided_ksampler(model, positive, negative, latent, layout, **options)
        off = scenes.guided_ksampler(model, positive, negative, latent, layout, **options, photo_start=0.0, vae=vae)
        stock = hostkit.ksampler(guided_model, guided, negative, latent, **options)
        recurrent = scenes.guided_ksampler(
            model, positive, negative, latent, layout, **{**options, "recurrence": True}, **photos
        )
        found[sampler] = {
            "same": hostkit.identical(node, stock),
            "off": hostkit.identical(off, plain),
            "moved": hostkit.relative_error(node, plain),
            "custom": hostkit.relative_error(custom(guided_model, guided, negative, latent, True, sampler), recurrent),
            "finite": bool(node.isfinite().all() and recurrent.isfinite().all()),
        }
    return found


def recurrence_noise(name: str) -> float:
    """How far a recurrent run with hardly any photo is from one with none: its fresh noise must be the same."""
    model, vae, positive, negative, layout = prompt(name)
    latent = hostkit.empty_latent(*LATENT, batch=2)
    run = lambda **options: scenes.guided_ksampler(  # noqa: E731
        model, positive, negative, latent, layout, recurrence=True, **options
    )
    return hostkit.relative_error(run(photo_start=1e-4, vae=vae), run())


def batch(name: str) -> dict:
    """The shifts of a batch of three pictures of a subject with two photos, seed 7."""
    model, vae, positive, negative, layout = prompt(name, photos=2)
    latent = hostkit.empty_latent(*LATENT, batch=3)
    started = first_x(*scenes.guide(model, positive, layout, photo_start=AMOUNT, vae=vae), negative, latent)
    plain = first_x(*scenes.guide(model, positive, layout), negative, latent)
    moved = started - plain
    return {
        "another photo": hostkit.relative_error(moved[0], moved[1]),
        "in turn": hostkit.relative_error(moved[0], moved[2]),
    }


def pictures(name: str) -> dict:
    """Runs that begin from a picture, with and without photos: what differs, and what is said."""
    model, vae, positive, negative, layout = prompt(name)
    latent = {"samples": scenes.noise(seed=8)}
    mask = torch.zeros(1, 1, 96, 128)
    mask[..., 32:] = 1
    photos = {"photo_start": AMOUNT, "vae": vae}
    run = lambda latent, **options: scenes.guided_ksampler(  # noqa: E731
        model, positive, negative, latent, layout, **options
    )
    masked = {**latent, "noise_mask": mask}
    with said() as lines:
        half = run(latent, denoise=0.5, **photos)
    started, plain = (
        first_x(*scenes.guide(model, positive, layout, **options), negative, masked) for options in (photos, {})
    )
    inpainted = run(masked, **photos)
    sigmas = torch.tensor([2.0, 0.0])
    return {
        "denoise": hostkit.identical(half, run(latent, denoise=0.5)),
        "said": [line for line in lines if "photo_start" in line],
        "kept": hostkit.relative_error(inpainted[..., :4], latent["samples"][..., :4]),
        "kept start": bool(torch.equal(started[..., :4], plain[..., :4])),
        "changed start": hostkit.relative_error(started, plain),
        "empty": hostkit.relative_error(
            first_x(*scenes.guide(model, positive, layout, **photos), negative, hostkit.empty_latent(*LATENT), sigmas),
            first_x(*scenes.guide(model, positive, layout), negative, hostkit.empty_latent(*LATENT), sigmas),
        ),
    }


def heat_maps(name: str) -> bool:
    """Whether Subject Attention shows the same of a picture with and without photos in its conditioning."""
    model, vae, positive, _, layout = prompt(name)
    latent = {"samples": scenes.noise(seed=8)}
    shown = [
        hostkit.run_node(
            "Cones2SubjectAttention", model=guided_model, conditioning=guided, latent=latent, scheduler="normal",
            subjects="dog", steps=2,
        )[0]
        for guided_model, guided in (
            scenes.guide(model, positive, layout, **options) for options in ({}, {"photo_start": AMOUNT, "vae": vae})
        )
    ]  # fmt: skip
    return hostkit.identical(*shown)


class OtherVae:
    """Latents with 16 channels."""

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.zeros(len(pixels), 16, pixels.shape[1] // 8, pixels.shape[2] // 8)


def without_vae(name: str) -> None:
    model, _, positive, _, layout = prompt(name)
    scenes.guide(model, positive, layout, photo_start=AMOUNT)


def without_cutouts(name: str) -> None:
    model, vae, positive, negative, layout = prompt(name, photos=0)
    scenes.guided_ksampler(
        model, positive, negative, hostkit.empty_latent(*LATENT), layout, photo_start=AMOUNT, vae=vae
    )


def other_vae(name: str) -> None:
    model, _, positive, negative, layout = prompt(name)
    guided = scenes.guide(model, positive, layout, photo_start=AMOUNT, vae=OtherVae())
    first_x(*guided, negative, hostkit.empty_latent(*LATENT))


def loaded(image: list[int], mask: list[int] | None) -> list[list[int]]:
    """Height and width of the cut-outs that Load Residual takes from a photo of a shape, with a mask of a shape.

    The last channel of four is transparent but for its right half.
    """
    photo = torch.ones(image)
    if image[-1] == 4:
        photo[..., : image[2] // 2, 3] = 0
    photos = {} if mask is None else {"photo_mask": torch.ones(mask)}
    bare = scenes.module("cones2.concepts.residual").make_residual("dog", torch.ones(1, 768))
    hostkit.run_node("Cones2SaveResidual", residual=(bare,), name="photographed", overwrite=True)
    file = "photographed.safetensors"
    (residual,) = hostkit.run_node("Cones2LoadResidual", file=file, subject="", strength=1.0, photo=photo, **photos)[0]
    return [[cutout.height, cutout.width] for cutout in residual.cutouts]


def carried(name: str) -> dict:
    """A start from photos, and a preset, with the layout that the conditioning carries or with the same connected."""
    model, vae, positive, negative, layout = prompt(name)
    _, carrying = scenes.guide(model, positive, layout)
    latent, found = hostkit.empty_latent(*LATENT), {}
    for what, options in {"photos": {"photo_start": AMOUNT, "vae": vae}, "preset": {"preset": "published"}}.items():
        own = scenes.guided_ksampler(model, carrying, negative, latent, None, guidance_weight=0.02, **options)
        connected = scenes.guided_ksampler(model, positive, negative, latent, layout, guidance_weight=0.02, **options)
        plain = scenes.guided_ksampler(model, carrying, negative, latent, None, guidance_weight=0.02)
        found[what] = {"same": hostkit.identical(own, connected), "moved": hostkit.relative_error(own, plain)}
    return found
