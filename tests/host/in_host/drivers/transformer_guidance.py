"""Drivers for layout guidance on diffusion transformers: what the steered model computes."""

import itertools
import math
from itertools import pairwise
from typing import Any

import comfy.ldm.modules.attention as host_attention
import comfy.sample
import comfy.samplers
import hostkit
import scenes
import torch
from oracle import OVERRIDE, Oracle, Watcher, drops_masks, is_place, rounds_to_int8, with_override
from tiny_transformers import Family, noise, parts
from torch import Tensor

PROMPT = "a dog and a mug on the beach"
NEGATIVE = "a mug and a dog on the beach"  # of the same length, so that both run in one forward pass
LEFT, RIGHT = (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)


def layout(height: int = 128, width: int = 192, **boxes: Any) -> Any:
    return scenes.layout(**{"dog": LEFT, "mug": RIGHT, **boxes}, height=height, width=width)


def sample(model: Any, positive: Any, negative: Any, start: Tensor, steps: int = 2, cfg: float = 4.0) -> Tensor:
    with torch.inference_mode():
        return comfy.sample.sample(
            model, start, steps, cfg, "euler", "simple", positive, negative, torch.zeros_like(start), seed=0,
            disable_pbar=True,
        )  # fmt: skip


def bound(conditioning: Any) -> Any:
    return conditioning[0][1]["cones2_layout"]


def grid_of(family: Family, start: Tensor) -> tuple[int, int]:
    height, width = (-(-side // family.patch) for side in start.shape[-2:])
    return height, width


def oracle_of(model: Any, family: Family, guided: Any, start: Tensor, extra: dict[int, Any] | None = None) -> Any:
    """The plain model with the formula written out."""
    rows, before = running_rows(family, guided[0][0])
    layouts = {0: bound(guided), **(extra or {})}
    flow = hasattr(model.get_model_object("model_sampling"), "shift") or family.base != "CosmosPredict2"
    return with_override(model, Oracle(family, layouts, grid_of(family, start), rows, before, flow))


def running_rows(family: Family, cond: Tensor) -> tuple[int, int]:
    """Tokens of the prompt that runs, and how many the host put before it."""
    if family.base == "Flux2":
        return max(512, cond.shape[1]), max(0, 512 - cond.shape[1])
    return (512 if family.base == "Anima" else cond.shape[1]), 0


def formula(name: str) -> dict:
    """Features or mask against the mask of all pairs; off is the plain model, bit for bit; the model stays clean."""
    model, clip, family = parts(name)
    positive, negative, start = (
        scenes.encode(clip, PROMPT),
        scenes.encode(clip, NEGATIVE),
        noise(family),
    )
    plain = sample(model, positive, negative, start)
    guided_model, guided = scenes.guide(model, positive, layout())
    found = sample(guided_model, guided, negative, start)
    expected = sample(oracle_of(model, family, guided, start), positive, negative, start)
    off = [
        scenes.guide(model, positive, layout(), **options)
        for options in (dict(guidance_weight=0.0), dict(guided_steps=0))
    ]
    return {
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, plain),
        "off": [hostkit.identical(sample(*pair, negative, start), plain) for pair in off],
        "without_layout": hostkit.identical(sample(guided_model, positive, negative, start), plain),
        "afterwards": hostkit.identical(sample(model, positive, negative, start), plain),
    }


def attention(name: str) -> dict:
    """Calls and steered calls of a forward pass, and where subjects' tokens are read with and without a layout."""
    model, clip, family = parts(name)
    positive, negative, start = (
        scenes.encode(clip, PROMPT),
        scenes.encode(clip, NEGATIVE),
        noise(family),
    )
    hard_model, hard = scenes.guide(model, positive, layout())
    _, soft = scenes.guide(model, positive, layout(), outside_weight=0.0)
    rows, before = running_rows(family, positive[0][0])
    groups = [tuple(token + before for token in group) for group in bound(hard).maps.groups]
    out = {}
    for key, sampled, conditioning in (
        ("plain", model, positive),
        ("hard", hard_model, hard),
        ("soft", hard_model, soft),
    ):
        watcher = Watcher(family, grid_of(family, start), rows, groups)
        sample(with_override(sampled, watcher), conditioning, negative, start, steps=1)
        entries = sorted({entry for entry, _ in watcher.left})
        mean = lambda found, entry, number: sum(found[entry, number]) / len(found[entry, number])  # noqa: E731
        out[key] = {
            "calls": watcher.calls,
            "steered": watcher.steered,
            "left": [[mean(watcher.left, entry, number) for number in (0, 1)] for entry in entries],
            "inside": [[mean(watcher.mass, entry, number) for number in (0, 1)] for entry in entries],
        }
    return {**out, "expected": [family.calls, family.steered]}


def batch(name: str) -> dict:
    """Each picture of a batch is steered as it is alone."""
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, "a beach"), noise(family, 2)
    guided_model, guided = scenes.guide(model, positive, layout())
    together = sample(guided_model, guided, negative, start)
    alone = torch.cat([sample(guided_model, guided, negative, start[n : n + 1]) for n in (0, 1)])
    return {"error": hostkit.relative_error(together, alone)}


def combined(name: str) -> dict:
    """Two combined prompts in one forward pass, each with its layout, and a longer negative one in another."""
    model, clip, family = parts(name)
    first, second = scenes.encode(clip, PROMPT), scenes.encode(clip, "a mug and a dog on the beach")
    negative, start = scenes.encode(clip, "a beach with many dogs and many mugs and nobody there"), noise(family)
    guided_model, a = scenes.guide(model, first, layout())
    guided_model, b = scenes.guide(guided_model, second, layout(dog=RIGHT, mug=LEFT), guidance_weight=0.05)
    both = hostkit.run_node("ConditioningCombine", conditioning_1=a, conditioning_2=b)[0]
    calls = scenes.Calls(guided_model)
    found = sample(calls.model, both, negative, start, steps=1)
    alone = [
        sample(oracle_of(model, family, part, start), plain, negative, start, 1, 1.0)
        for part, plain in ((a, first), (b, second))
    ]
    unguided = sample(model, negative, negative, start, 1, 1.0)
    expected = unguided + ((alone[0] + alone[1]) / 2 - unguided) * 4.0
    return {"error": hostkit.relative_error(found, expected), "calls": calls.count}


def area(name: str) -> dict:
    """A prompt confined to the right half follows that half of the layout; its twin among the negatives none."""
    model, clip, family = parts(name)
    positive, negative, start = (
        scenes.encode(clip, PROMPT),
        scenes.encode(clip, NEGATIVE),
        noise(family),
    )
    boxes = layout(dog=(0.0, 0.5, 0.5, 1.0), mug=(0.5, 0.25, 1.0, 0.75))
    half = layout(width=96, dog=(0.0, 0.0, 0.5, 1.0), mug=(0.5, 0.0, 1.0, 0.5))
    guided_model, guided = scenes.guide(model, positive, boxes)
    frames = (1,) if family.frames else ()
    area = (*frames, 16, 12, *(0 for _ in frames), 0, 12)
    confined = [[cond, {**options, "area": area, "strength": 1.0}] for cond, options in guided]
    found = sample(guided_model, confined, negative, start, 1, 1.0)
    _, of_half = scenes.guide(model, positive, half)
    expected = sample(oracle_of(model, family, of_half, start[..., 12:]), positive, negative, start[..., 12:], 1, 1.0)

    def negative_part(sampled: Any) -> Tensor:
        with_negative = sample(sampled, confined, negative, start, 1, 3.0)
        return (3 * sample(sampled, confined, negative, start, 1, 1.0) - with_negative) / 2

    return {
        "error": hostkit.relative_error(found[..., 12:], expected),
        "twin": hostkit.relative_error(negative_part(guided_model), negative_part(model)),
    }


def negative_area(name: str) -> dict:
    """A negative prompt confined to a half makes the host run the positive there once more: guided as well."""
    model, clip, family = parts(name)
    positive, start = scenes.encode(clip, PROMPT), noise(family)
    frames = (1,) if family.frames else ()
    area = (*frames, 16, 12, *(0 for _ in frames), 0, 12)
    confined = [[cond, {**options, "area": area, "strength": 1.0}] for cond, options in scenes.encode(clip, "a beach")]
    guided_model, guided = scenes.guide(model, positive, layout(dog=(0.0, 0.5, 0.5, 1.0), mug=(0.5, 0.25, 1.0, 0.75)))
    _, half = scenes.guide(model, positive, layout(width=96, dog=(0.0, 0.0, 0.5, 1.0), mug=(0.5, 0.0, 1.0, 0.5)))
    found = sample(guided_model, guided, confined, start, 1, 1.0)
    whole = sample(oracle_of(model, family, guided, start), positive, positive, start, 1, 1.0)
    part = sample(oracle_of(model, family, half, start[..., 12:]), positive, positive, start[..., 12:], 1, 1.0)
    inner = slice(3, None)  # the host fades the part in
    return {"error": hostkit.relative_error(found[..., 12:][..., inner], ((whole[..., 12:] + part) / 2)[..., inner])}


def sizes(name: str, height: int, width: int) -> dict:
    """Latents of a size that no patch divides, or that is far from square."""
    model, clip, family = parts(name)
    positive, negative, start = (
        scenes.encode(clip, PROMPT),
        scenes.encode(clip, "a beach"),
        noise(family, 1, height, width),
    )
    guided_model, guided = scenes.guide(model, positive, layout(height * 8, width * 8))
    found = sample(guided_model, guided, negative, start, 1)
    expected = sample(oracle_of(model, family, guided, start), positive, negative, start, 1)
    plain = sample(model, positive, negative, start, 1)
    return {"error": hostkit.relative_error(found, expected), "effect": hostkit.relative_error(found, plain)}


def reference_latents(name: str) -> dict:
    """Reference pictures stand behind the picture's cells: the layout keeps its place."""
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, "a beach"), noise(family)
    latents = noise(family, 1, 10, 13, seed=5)
    guided_model, guided = scenes.guide(model, positive, layout())
    more = {"reference_latents": [latents], "reference_latents_method": "index"}
    add = lambda conds: [[cond, {**options, **more}] for cond, options in conds]  # noqa: E731
    found = sample(guided_model, add(guided), add(negative), start, 1)
    expected = sample(oracle_of(model, family, guided, start), add(positive), add(negative), start, 1)
    return {
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, sample(model, add(positive), add(negative), start, 1)),
    }


TABLE = "255,0,0 = dog + picture 3\n255,192,0 = {mug}picture 1"
"""Two of three reference pictures are bound."""


def bound_references(name: str, mug: str, method: str, guided_steps: int = -1) -> dict:
    """Reference pictures bound to regions against the formula; of unequal sizes, which no patch divides.

    mug: what the second region names beside its picture. guided_steps: of the words; pictures are bound in all steps.
    """
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, NEGATIVE), noise(family)
    pictures = [noise(family, 1, *size, seed=5 + n) for n, size in enumerate([(10, 13), (6, 8), (7, 16)])]
    more = {"reference_latents": pictures, "reference_latents_method": method}
    add = lambda conds: [[cond, {**options, **more}] for cond, options in conds]  # noqa: E731
    picture = scenes.box_image({(255, 0, 0): (0, 0, 1, 0.4), (255, 192, 0): (0.2, 0.5, 0.9, 0.9)}, 128, 192)
    table = TABLE.format(mug=mug + " + " if mug else "+ ")
    regions = hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors=table)[0]
    guided_model, guided = scenes.guide(model, add(positive), regions, guided_steps=guided_steps)
    found = sample(guided_model, guided, add(negative), start)
    oracle = oracle_of(model, family, guided, start)
    counts = [math.prod(grid_of(family, latents)) for latents in pictures]
    first = running_rows(family, positive[0][0])[0] + math.prod(grid_of(family, start))
    stops = list(itertools.accumulate(counts, initial=first))
    override = oracle.model_options["transformer_options"][OVERRIDE]
    override.references = tuple(range(*pair) for pair in pairwise(stops))
    override.words = guided_steps != 0
    plain = sample(model, add(positive), add(negative), start)
    off = scenes.guide(model, add(positive), regions, guidance_weight=0.0)
    return {
        "error": hostkit.relative_error(found, sample(oracle, add(positive), add(negative), start)),
        "effect": hostkit.relative_error(found, plain),
        "off": hostkit.identical(sample(*off, add(negative), start), plain),
    }


def own_mask(name: str) -> dict:
    """The model's own attention mask stays in force beside the term."""
    model, clip, family = parts(name)
    positive, negative, start = (
        scenes.encode(clip, PROMPT),
        scenes.encode(clip, NEGATIVE),
        noise(family),
    )
    guided_model, guided = scenes.guide(model, positive, layout())

    def hide(conds: Any) -> Any:
        mask = torch.ones(1, conds[0][0].shape[1])
        mask[:, -2:] = 0
        return [[cond, {**options, "attention_mask": mask}] for cond, options in conds]

    found = sample(guided_model, hide(guided), hide(negative), start, 1)
    expected = sample(oracle_of(model, family, guided, start), hide(positive), hide(negative), start, 1)
    unmasked = sample(guided_model, guided, negative, start, 1)
    return {"error": hostkit.relative_error(found, expected), "effect": hostkit.relative_error(found, unmasked)}


def overrides(name: str) -> dict:
    """Another node's override is called for every call, whichever node came first; one that cannot serve is named."""
    model, clip, family = parts(name)
    positive, negative, start = (
        scenes.encode(clip, PROMPT),
        scenes.encode(clip, NEGATIVE),
        noise(family),
    )
    guided_model, guided = scenes.guide(model, positive, layout())
    plain = sample(guided_model, guided, negative, start, 1)
    count = [0]

    def counting(function: Any, *args: Any, **given: Any) -> Tensor:
        count[0] += given["transformer_options"].get("cond_or_uncond") is not None
        return function(*args, **given)

    before = sample(scenes.guide(with_override(model, counting), positive, layout())[0], guided, negative, start, 1)
    after = sample(with_override(guided_model, counting), guided, negative, start, 1)
    unfit = rounds_to_int8 if family.joint else drops_masks
    with hostkit.warnings_of() as warnings:
        bypassed = sample(with_override(guided_model, unfit), guided, negative, start, 2)
    return {
        "same": [hostkit.identical(before, plain), hostkit.identical(after, plain)],
        "calls": count[0],
        "expected": 2 * family.calls,
        "warnings": [warning for warning in warnings if unfit.__name__ in warning],
        "kept": _held(guided_model, unfit, guided, negative, family, start),
        "finite": bool(bypassed.isfinite().all()),
    }


def _held(model: Any, unfit: Any, guided: Any, negative: Any, family: Family, start: Tensor) -> float:
    """How far a steered run with the unfit override is from one with it in unsteered calls alone."""
    rows, _ = running_rows(family, guided[0][0])

    def elsewhere(function: Any, *args: Any, **given: Any) -> Tensor:
        q, k = (args[n] if n < len(args) else given[key] for n, key in enumerate("qk"))
        lengths = q.shape[-2], k.shape[-2]
        steered = is_place(family, lengths, grid_of(family, start), rows)
        if steered or given["transformer_options"].get("cond_or_uncond") is None:
            return function(*args, **given)
        return unfit(function, *args, **given)

    with_it = sample(with_override(model, unfit), guided, negative, start, 1)
    return hostkit.relative_error(with_it, sample(with_override(model, elsewhere), guided, negative, start, 1))


def compiled(name: str) -> dict:
    """The model compiled with the eager backend gives the same picture."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, "a beach"), noise(family)
    guided_model, guided = scenes.guide(model, positive, layout())
    expected = sample(guided_model, guided, negative, start)
    fast = guided_model.clone()
    set_torch_compile_wrapper(model=fast, backend="eager")
    found = sample(fast, guided, negative, start)
    return {"error": hostkit.relative_error(found, expected)}


def unrecognized(name: str) -> dict:
    """A node that makes the sequence longer leaves no call to steer; the model is clean after the error."""
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, "a beach"), noise(family)
    plain = sample(model, positive, negative, start, 1)
    guided_model, guided = scenes.guide(model, positive, layout())

    def longer(arguments: dict[str, Any]) -> dict[str, Any]:
        length = arguments["txt"].shape[1]
        for key in ("txt", "txt_ids"):
            part = arguments[key]
            arguments[key] = torch.cat([part, part[:, : length // 2]], 1)
        return arguments

    broken = guided_model.clone()
    broken.set_model_patch(longer, "post_input")
    try:
        sample(broken, guided, negative, start, 1)
        message = ""
    except Exception as error:
        message = str(error)
    return {
        "message": message,
        "afterwards": hostkit.identical(sample(model, positive, negative, start, 1), plain),
        "override": OVERRIDE in guided_model.model_options["transformer_options"],
    }


def recurrence(name: str) -> dict:
    """Layout Guided KSampler with recurrence against flow matching's steps written out."""
    model, clip, family = parts(name)
    positive, negative = scenes.encode(clip, PROMPT), scenes.encode(clip, "a beach")
    guided_model, guided = scenes.guide(model, positive, layout(), guided_steps=3)
    latent = {"samples": torch.zeros_like(noise(family))}
    options = dict(steps=4, guided_steps=3, recurrence=True, cfg=4.0, scheduler="simple", seed=7)
    found = scenes.guided_ksampler(model, positive, negative, latent, layout(), **options)
    generator = torch.Generator().manual_seed(7)
    first = torch.randn(latent["samples"].shape, generator=generator)

    def function(denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_: Any) -> Tensor:
        for step, (t, s) in enumerate(pairwise(sigmas)):
            down = lambda x, t=t, s=s: x + (x - denoiser(x, t[None], **extra_args)) / t * (s - t)  # noqa: E731
            if step in (1, 2):  # the first step begins in pure noise, where nothing would be left
                kept = (1 - t) / (1 - s)
                x = kept * down(x) + torch.randn(x.shape, generator=generator) * (t**2 - (kept * s) ** 2).sqrt()
            x = down(x)
        return x

    sigmas = hostkit.run_node("BasicScheduler", model=model, scheduler="simple", steps=4, denoise=1.0)[0]
    with torch.inference_mode():
        expected = comfy.sample.sample_custom(
            guided_model, first, 4.0, comfy.samplers.KSAMPLER(function), sigmas, guided, negative,
            torch.zeros_like(first), disable_pbar=True, seed=7,
        )  # fmt: skip
    options["recurrence"] = False
    once = scenes.guided_ksampler(model, positive, negative, latent, layout(), **options)
    return {
        "starts": float(sigmas[0]),
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, once),
    }


def subject_attention(name: str) -> dict:
    """Heat maps of Subject Attention against the attention that another node's override sees in the same passes."""
    model, clip, family = parts(name)
    positive, start = scenes.encode(clip, PROMPT), noise(family)
    guided_model, guided = scenes.guide(model, positive, layout())
    heat = scenes.module("nodes.host.heat_maps")
    parse = scenes.module("cones2.prompt.claims").parse_phrase
    out = {}
    for key, sampled, conditioning in (("plain", model, positive), ("guided", guided_model, guided)):
        rows, before = running_rows(family, positive[0][0])
        groups = [tuple(token + before for token in group) for group in bound(guided).maps.groups]
        watcher = Watcher(family, grid_of(family, start), rows, groups)
        chosen = heat.chosen_steps(sampled, "simple", 4, 1, 3)
        with torch.inference_mode():
            maps = heat.heat_maps(
                with_override(sampled, watcher), conditioning[0], [parse("dog"), parse("mug")], start, 3, chosen
            )
        halves = [part.sum((1, 2)) for part in (maps[..., :10], maps[..., 14:])]  # without what is interpolated of both
        left = halves[0] / (halves[0] + halves[1])
        seen = [watcher.left[0, number] for number in (0, 1)]
        out[key] = {"left": left.tolist(), "calls": len(seen[0]), "shape": list(maps.shape), "total": float(maps.sum())}
    return {**out, "expected": 2 * family.steered}


def backends(dtype: str) -> dict:
    """Errors of guided and of plain attention against double precision, for each of the host's attention functions."""
    kind, cells, text, width = getattr(torch, dtype), 96, 32, 64
    features = scenes.module("cones2.guidance.features")
    q, k, v = torch.randn(3, 2, 3, cells + text, width, generator=torch.Generator().manual_seed(0)).to(kind)
    gains = torch.full((2, cells, 2), -features.SCORE_LIMIT)
    gains[:, : cells // 2, 0] = gains[:, cells // 2 :, 1] = 8.0
    term = features.Gains(gains, ((4,), (9,)))
    bias = torch.zeros(2, 1, cells + text, cells + text, dtype=torch.float64)
    bias[:, :, text:, :text] = term.mask(text, width**-0.5, torch.float64)
    scores = q.double() @ k.double().mT * width**-0.5
    guided, plain = ((scores + part).softmax(-1) @ v.double() for part in (bias, 0.0))
    extended = features.with_features(q, k, v, [features.Placed(term, slice(0, 2), text, 0)])
    found = {}
    for name in ("pytorch", "sub_quad", "split", "basic"):
        function = host_attention.get_attention_function(name, None)
        if function is None:
            continue
        options = dict(skip_reshape=True, skip_output_reshape=True)
        out = function(*extended, 3, scale=width**-0.5, **options)[..., :width]
        found[name] = [
            float((out.double() - guided).abs().max()),
            float((function(q, k, v, 3, **options).double() - plain).abs().max()),
        ]
    return found


def refused(what: str) -> str:
    """The sentence of a run that a layout cannot steer."""
    try:
        REFUSED[what]()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _run(name: str, start: Tensor | None = None, **extra: Any) -> None:
    model, clip, family = parts(name)
    positive, start = scenes.encode(clip, PROMPT), noise(family) if start is None else start
    guided_model, guided = scenes.guide(model, positive, layout())
    add = lambda conds: [[cond, {**options, **extra}] for cond, options in conds]  # noqa: E731
    sample(guided_model, add(guided), add(positive), start, 1)


def _shortened() -> None:
    model, clip, family = parts("Qwen-Image")
    guided_model, guided = scenes.guide(model, scenes.encode(clip, PROMPT), layout())
    sample(guided_model, [[cond[:, :6], options] for cond, options in guided], guided, noise(family), 1)


def _pictured(name: str, number: int) -> None:
    model, clip, family = parts(name)
    picture = scenes.box_image({(255, 0, 0): (0, 0, 1, 0.4)}, 128, 192)
    colors = f"255,0,0 = dog + picture {number}"
    regions = hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors=colors)[0]
    guided_model, guided = scenes.guide(model, scenes.encode(clip, PROMPT), regions)
    guided = [[cond, {**options, "reference_latents": [noise(family), noise(family)]}] for cond, options in guided]
    sample(guided_model, guided, guided, noise(family), 1)


def _other_class(name: str) -> None:
    model, clip, _ = parts("Qwen-Image")
    other = model.clone()
    other.model = type(name, (), {"diffusion_model": torch.nn.Identity()})()
    scenes.guide(other, scenes.encode(clip, PROMPT), layout())


REFUSED = {
    "frames": lambda: _run("Wan", torch.randn(1, 16, 3, 16, 24)),
    "as many cells as tokens": lambda: _run("Anima", torch.randn(1, 16, 1, 32, 64)),
    "references of Z-Image": lambda: _run("Z-Image", reference_latents=[torch.randn(1, 16, 16, 24)]),
    "shortened": _shortened,
    "absent picture": lambda: _pictured("Qwen-Image", 3),
    "picture 0": lambda: _pictured("Qwen-Image", 0),
    "model without pictures": lambda: _pictured("SD3.5", 1),
    "PixArt": lambda: _other_class("PixArt"),
    "HunyuanDiT": lambda: _other_class("HunyuanDiT"),
    "ErnieImage": lambda: _other_class("ErnieImage"),
    "Flux": lambda: _other_class("Flux"),
}


def encoded_elsewhere(name: str) -> dict:
    """A prompt that another node encoded, with a picture before it: CLIP and text tell its words."""
    model, clip, family = parts(name)
    plain, start = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT)), noise(family)
    picture = torch.randn(1, 19, plain[0][0].shape[-1], generator=torch.Generator().manual_seed(1))
    positive = [[torch.cat([picture, cond], 1), options] for cond, options in plain]
    guided_model, guided = scenes.guide(model, positive, layout(), clip=clip, text=PROMPT)
    of_plain = scenes.guide(model, scenes.encode(clip, PROMPT), layout())[1]
    found = sample(guided_model, guided, positive, start, 1)
    expected = sample(oracle_of(model, family, guided, start), positive, positive, start, 1)
    try:
        scenes.guide(model, positive, layout())
        message = ""
    except Exception as error:
        message = str(error)
    return {
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, sample(model, positive, positive, start, 1)),
        "moved": [later - early for early, later in zip(bound(of_plain).own, bound(guided).own, strict=True)],
        "message": message,
    }
