"""Drivers for subjects from pictures: what the adapted model computes, beside the formula written out."""

from typing import Any

import hostkit
import scenes
import torch
from foreign import Foreign
from image_adapters import NAMES, Naive, picture, vision, weights
from torch import Tensor


def subject(name: str, seed: int, **options: Any) -> Any:
    return hostkit.run_node("Cones2SubjectFromPictures", image=picture(seed), subject=name, **options)[0]


def subjects(count: int) -> dict:
    return {f"subject{number}": subject(NAMES[number], number) for number in range(count)}


def adapted(model: Any, clip: Any, count: int = 2, kind: str = "mip", **options: Any) -> Any:
    """MODEL of Cones2ApplyMIPAdapter."""
    inputs = {"ipadapter": weights(model, kind), "subjects": subjects(count), "clip_vision": vision()} | options
    return hostkit.run_node("Cones2ApplyMIPAdapter", model=model, clip=clip, **inputs)[0]


def halves(grid: tuple[int, int]) -> Tensor:
    """r_j(p) of two subjects, the first in the left half."""
    left = torch.zeros(grid)
    left[:, : grid[1] // 2] = 1
    return torch.stack([left, 1 - left]).flatten(1)


def left_and_right(width: int = 128) -> Any:
    return scenes.layout(dog=(0, 0, 1, 0.5), mug=(0, 0.5, 1, 1), width=width)


def formula(
    name: str,
    count: int,
    kind: str = "mip",
    batch: int = 1,
    height: int = 12,
    width: int = 16,
    negative: str = "blurry",
) -> dict:
    """The adapted prediction against the formula written out, and how far the pictures move it at all."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, other = scenes.encode(clip), hostkit.encode(clip, negative)
    start = scenes.noise(batch, height, width)
    calls = scenes.Calls(adapted(model, clip, count, kind))
    found = scenes.denoised(calls.model, positive, other, start)
    naive = Naive(model, clip, count, kind).model(model)
    return {
        "calls": calls.count,
        "error": hostkit.relative_error(found, scenes.denoised(naive, positive, other, start)),
        "effect": hostkit.relative_error(found, scenes.denoised(model, positive, other, start)),
    }


def placed(name: str) -> dict:
    """With a layout each subject's pictures count in its half only."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    found = scenes.denoised(adapted(model, clip, layout=left_and_right()), positive, negative, start)
    naive = Naive(model, clip, 2, "mip", halves).model(model)
    return {
        "error": hostkit.relative_error(found, scenes.denoised(naive, positive, negative, start)),
        "effect": hostkit.relative_error(found, scenes.denoised(adapted(model, clip), positive, negative, start)),
    }


def area(name: str) -> dict:
    """A prompt confined to the right half is shown that half of the layout."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, start = scenes.encode(clip), scenes.noise(height=12, width=16)
    confined = hostkit.run_node(
        "ConditioningSetArea", conditioning=positive, width=64, height=96, x=64, y=0, strength=1.0
    )[0]
    layout = scenes.layout(dog=(0, 0, 1, 0.75), mug=(0, 0.75, 1, 1))
    found = scenes.denoised(adapted(model, clip, layout=layout), confined, positive, start, cfg=1.0)
    naive = Naive(model, clip, 2, "mip", halves).model(model)  # the right half of that layout
    expected = scenes.denoised(naive, positive, positive, start[..., 8:], cfg=1.0)
    return {"error": hostkit.relative_error(found[..., 10:], expected[..., 2:])}


def beside_layout(name: str) -> dict:
    """Layout guidance and pictures in either order, against both formulas written out."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start, layout = (
        scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise(), scenes.layout(),
    )  # fmt: skip
    guided_model, guided = scenes.guide(model, positive, layout)
    after = scenes.denoised(adapted(guided_model, clip), guided, negative, start)
    before = scenes.denoised(scenes.guide(adapted(model, clip), positive, layout)[0], guided, negative, start)
    rows = {"dog": scenes.DOG, "mug": scenes.MUG}
    replaced = scenes.naive_model(model, layout, rows).model_options["transformer_options"]["patches_replace"]["attn2"]
    base = next(iter(replaced.values()))
    expected = scenes.denoised(Naive(model, clip, 2, "mip").model(model, base), positive, negative, start)
    return {
        "order": hostkit.relative_error(before, after),
        "error": hostkit.relative_error(after, expected),
        "pictures": hostkit.relative_error(after, scenes.denoised(guided_model, guided, negative, start)),
    }


def beside_foreign(name: str, kind: str) -> dict:
    """A foreign change of the model before and after the adapter."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    change = getattr(Foreign(), kind)
    after = scenes.denoised(change(adapted(model, clip)), positive, negative, start)
    before = scenes.denoised(adapted(change(model), clip), positive, negative, start)
    if kind == "lora":
        changed = change(model)
        expected = Naive(changed, clip, 2, "mip").model(changed)
    else:
        theirs = change(model).model_options["transformer_options"]["patches_replace"]["attn2"]
        expected = Naive(model, clip, 2, "mip").model(model, next(iter(theirs.values())))
    return {
        "order": hostkit.relative_error(before, after),
        "error": hostkit.relative_error(after, scenes.denoised(expected, positive, negative, start)),
        "change": hostkit.relative_error(after, scenes.denoised(adapted(model, clip), positive, negative, start)),
    }


def untouched(name: str) -> dict:
    """Nothing is added at scale or strength 0 and outside the window, and the model is left as it was."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = scenes.encode(clip), hostkit.encode(clip, "blurry")

    def run(adapted_model: Any, width: int = 128) -> Tensor:
        return hostkit.ksampler(adapted_model, positive, negative, hostkit.empty_latent(width, 96))

    plain, options = run(model), repr(model.model_options)
    late = adapted(model, clip, start_percent=0.5, end_percent=0.5)
    weak = {f"subject{number}": subject(NAMES[number], number, strength=0.0) for number in range(2)}
    same = adapted(model, clip)
    with_pictures = run(same)
    return {
        "scale": hostkit.identical(run(adapted(model, clip, scale=0.0)), plain),
        "strength": hostkit.identical(run(adapted(model, clip, subjects=weak)), plain),
        "window": hostkit.identical(run(late), plain),
        "effect": hostkit.relative_error(with_pictures, plain),
        "again": hostkit.identical(run(same), with_pictures),
        "other size": hostkit.identical(run(same, 160), run(adapted(model, clip), 160)),
        "clean": hostkit.identical(run(model), plain) and repr(model.model_options) == options,
    }


def two_adapters(name: str) -> dict:
    """Two nodes on one wire add up; each keeps its own subjects."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    both = adapted(adapted(model, clip, 1), clip, 2)
    swapped = adapted(adapted(model, clip, 2), clip, 1)
    found, other = (scenes.denoised(one, positive, negative, start) for one in (both, swapped))
    return {
        "order": hostkit.relative_error(found, other),
        "more": hostkit.relative_error(found, scenes.denoised(adapted(model, clip, 2), positive, negative, start)),
    }


def with_residual_nodes(name: str) -> dict:
    """Subjects from pictures go through Apply Residual and Scene, which leave the words as they are."""
    _, clip, _ = hostkit.checkpoint(name)
    positive = scenes.encode(clip)
    dog = subject("dog", 0)
    applied = hostkit.run_node("Cones2ApplyResidualToConditioning", conditioning=positive, residuals={"residual0": dog})
    scene = hostkit.run_node("Cones2Scene", clip=clip, prompt=scenes.PROMPT, residuals={"residual0": dog})
    return {
        "applied": hostkit.identical(applied[0][0][0], positive[0][0]),
        "scene": hostkit.identical(scene[0][0][0], positive[0][0]),
        "regions": scene[3].subjects,
    }


def refused(name: str) -> dict:
    """The sentence of each mistake."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    cat = {"subject0": subject("cat", 0)}
    broken = picture(0) * float("nan")

    def sentence(call: Any) -> str:
        try:
            call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing was refused"

    def apply(**options: Any) -> str:
        return sentence(lambda: adapted(model, clip, **options))

    merged = model.clone()
    merged.set_model_attn2_patch(lambda n, context, value, extra: (n[:, ::2], context, value))
    placed_model = adapted(merged, clip, layout=left_and_right())
    short = weights(model)
    short["ip_adapter"] = {key: value for key, value in short["ip_adapter"].items() if not key.startswith("1.")}
    return {
        "vision": apply(clip_vision=vision(projection_dim=16)),
        "no vision": apply(clip_vision=None),
        "other vision": apply(clip_vision=object()),
        "adapter": apply(ipadapter={"model": 1}),
        "layers": apply(ipadapter=short),
        "same": apply(subjects={"subject0": subject("dog", 0), "subject1": subject("mug", 0)}),
        "layout": apply(layout=left_and_right(), subjects=cat),
        "nan": sentence(lambda: hostkit.run_node("Cones2SubjectFromPictures", image=broken, subject="dog")),
        "prompt": sentence(lambda: scenes.denoised(adapted(model, clip, subjects=cat), positive, negative, start)),
        "positions": sentence(lambda: scenes.denoised(placed_model, positive, negative, start)),
        "save": sentence(
            lambda: hostkit.run_node("Cones2SaveResidual", residual=subject("dog", 0), name="x", overwrite=False)
        ),
    }


def unified(name: str) -> dict:
    """The pipeline of a unified loader brings adapter and image encoder."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    pipeline = {"ipadapter": {"model": weights(model)}, "clipvision": {"model": vision()}}
    found = scenes.denoised(adapted(model, clip, ipadapter=pipeline, clip_vision=None), positive, negative, start)
    return {"error": hostkit.relative_error(found, scenes.denoised(adapted(model, clip), positive, negative, start))}
