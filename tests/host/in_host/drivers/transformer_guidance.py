"""Drivers for layout guidance on diffusion transformers: what the steered model computes."""

import itertools
import math
from itertools import pairwise
from typing import Any

import comfy.context_windows
import comfy.sample
import comfy.samplers
import hostkit
import scenes
import torch
from oracle import OVERRIDE, Watcher, with_override
from tiny_transformers import noise, parts
from torch import Tensor
from transformer_runs import LEFT, NEGATIVE, PROMPT, RIGHT, bound, grid_of, layout, oracle_of, running_rows, sample


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


def reference_latents(name: str, method: str | None = "index") -> dict:
    """Reference pictures stand behind the picture's cells: the layout keeps its place. method: None: not told."""
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, "a beach"), noise(family)
    latents = noise(family, 1, 10, 13, seed=5)
    guided_model, guided = scenes.guide(model, positive, layout())
    more: dict[str, Any] = {"reference_latents": [latents]} | ({"reference_latents_method": method} if method else {})
    add = lambda conds: [[cond, {**options, **more}] for cond, options in conds]  # noqa: E731
    found = sample(guided_model, add(guided), add(negative), start, 1)
    expected = sample(oracle_of(model, family, guided, start), add(positive), add(negative), start, 1)
    return {
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, sample(model, add(positive), add(negative), start, 1)),
    }


TABLE = "255,0,0 = dog + picture 3\n255,192,0 = {mug}picture 1"
"""Two of three reference pictures are bound."""


def bound_references(name: str, mug: str, method: str, guided_steps: int = -1, also_closed: str = "nothing") -> dict:
    """Reference pictures bound to regions against the formula; of unequal sizes, which no patch divides.

    mug: what the second region names beside its picture. guided_steps: of the words; pictures are bound in all steps.
    "open": how far the picture is from one with nothing closed.
    """
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, NEGATIVE), noise(family)
    pictures = [noise(family, 1, *size, seed=5 + n) for n, size in enumerate([(10, 13), (6, 8), (7, 16)])]
    more = {"reference_latents": pictures, "reference_latents_method": method}
    add = lambda conds: [[cond, {**options, **more}] for cond, options in conds]  # noqa: E731
    picture = scenes.box_image({(255, 0, 0): (0, 0, 1, 0.4), (255, 192, 0): (0.2, 0.5, 0.9, 0.9)}, 128, 192)
    table = TABLE.format(mug=mug + " + " if mug else "+ ")
    regions = hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors=table)[0]
    options = dict(guided_steps=guided_steps, also_closed=also_closed)
    guided_model, guided = scenes.guide(model, add(positive), regions, **options)
    found = sample(guided_model, guided, add(negative), start)
    as_usual = sample(*scenes.guide(model, add(positive), regions, guided_steps=guided_steps), add(negative), start)
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
        "open": hostkit.relative_error(found, as_usual),
    }


def exchanged_references(name: str) -> dict:
    """Where cells read each of two pictures, as a layout names them and the other way round."""
    model, clip, family = parts(name)
    positive, negative, start = scenes.encode(clip, PROMPT), scenes.encode(clip, NEGATIVE), noise(family)
    pictures = [noise(family, 1, 8, 8, seed=5 + n) for n in range(2)]
    more = {"reference_latents": pictures, "reference_latents_method": "index"}
    picture = scenes.box_image({(255, 0, 0): (0, 0, 1, 0.4), (255, 192, 0): (0.2, 0.5, 0.9, 0.9)}, 128, 192)

    def shares(first: int, second: int) -> list[list[float]]:
        """How much of each picture's attention by cells is in the left and in the right region."""
        table = f"255,0,0 = + picture {first}\n255,192,0 = + picture {second}"
        regions = hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors=table)[0]
        given = lambda conds: [[cond, {**options, **more}] for cond, options in conds]  # noqa: E731
        guided_model, guided = scenes.guide(model, given(positive), regions)
        rows = running_rows(family, positive[0][0])[0]
        first_token = rows + math.prod(grid_of(family, start))
        count = math.prod(grid_of(family, pictures[0]))
        groups = [tuple(range(first_token + n * count, first_token + (n + 1) * count)) for n in range(2)]
        watcher = Watcher(family, grid_of(family, start), rows, groups)
        sample(with_override(guided_model, watcher), guided, given(negative), start, steps=1, cfg=1.0)
        return [sum(watcher.left[0, number]) / len(watcher.left[0, number]) for number in (0, 1)]

    return {"straight": shares(1, 2), "exchanged": shares(2, 1)}


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


def window_axes() -> dict:
    """Which axis of the picture a context window shows, for latents of four and five dimensions."""
    hooks = scenes.module("nodes.host.attention.hooks")
    found = {}
    for dims, dim in ((4, 0), (4, 2), (4, 3), (5, 2), (5, 3), (5, 4)):
        shown = hooks.latent_window(comfy.context_windows.IndexListContextWindow([0, 1], dim, 8), (6, 8), dims)
        found[f"{dim} of {dims}"] = shown and [shown.axis, shown.total]
    return found
