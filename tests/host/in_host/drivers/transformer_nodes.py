"""Drivers for transformers beside other nodes: overrides, compilation, recurrence, heat maps, refusals."""

from itertools import pairwise
from typing import Any

import comfy.context_windows
import comfy.ldm.modules.attention as host_attention
import comfy.sample
import comfy.samplers
import hostkit
import scenes
import torch
from oracle import OVERRIDE, Watcher, drops_masks, is_place, rounds_to_int8, with_override
from tiny_transformers import Family, noise, parts
from torch import Tensor
from transformer_runs import NEGATIVE, PROMPT, bound, grid_of, layout, running_rows, sample


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
