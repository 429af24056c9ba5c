"""Drivers for layout guidance: what the patched model computes."""

from typing import Any

import comfy.context_windows
import comfy.utils
import hostkit
import scenes
import torch
from safetensors.torch import save_file

ROWS = {"dog": scenes.DOG, "mug": scenes.MUG}


def formula(name: str, text_tokens: int, cfg: float, batch: int, height: int, width: int) -> dict:
    """The guided prediction against the formula written out, and how far guidance moves it at all."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = scenes.encode(clip, scenes.long_prompt(text_tokens)), hostkit.encode(clip, "blurry")
    layout, start = scenes.layout(), scenes.noise(batch, height, width)
    guided_model, guided = scenes.guide(model, positive, layout)
    calls = scenes.Calls(guided_model)
    found = scenes.denoised(calls.model, guided, negative, start, cfg)
    own = positive[0][0].shape[1]
    naive = scenes.naive_model(model, layout, ROWS, own)
    expected = scenes.denoised(naive, positive, negative, start, cfg)
    plain = scenes.denoised(model, positive, negative, start, cfg)
    return {
        "rows": own,
        "calls": calls.count,
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, plain),
    }


def unequal_prompts(name: str, positive_tokens: int, negative_tokens: int) -> dict:
    """The shorter prompt is repeated to the longer's length: its layout must be repeated with it."""
    model, clip, _ = hostkit.checkpoint(name)
    positive = scenes.encode(clip, scenes.long_prompt(positive_tokens))
    negative = hostkit.encode(clip, scenes.long_prompt(negative_tokens))
    layout, start = scenes.layout(), scenes.noise()
    guided_model, guided = scenes.guide(model, positive, layout)
    calls = scenes.Calls(guided_model)
    found = scenes.denoised(calls.model, guided, negative, start)
    naive = scenes.naive_model(model, layout, ROWS, positive[0][0].shape[1])
    return {
        "calls": calls.count,
        "error": hostkit.relative_error(found, scenes.denoised(naive, positive, negative, start)),
    }


def combined(name: str) -> dict:
    """Two combined prompts, each with its own layout; the negative list holds one with a layout as well."""
    model, clip, _ = hostkit.checkpoint(name)
    first, second = scenes.encode(clip), scenes.encode(clip, "a mug and a dog on the beach")
    negative = scenes.encode(clip, "a dog")
    here, there = scenes.layout(), scenes.layout(dog=(0.5, 0.5, 1, 1), mug=(0, 0, 0.5, 0.5))
    one = hostkit.run_node("Cones2LayoutFromMasks", masks={"mask0": torch.eye(12)[None]}, subjects="dog")[0]
    start = scenes.noise()
    guided_model, a = scenes.guide(model, first, here)
    guided_model, b = scenes.guide(guided_model, second, there)
    guided_model, n = scenes.guide(guided_model, negative, one)
    calls = scenes.Calls(guided_model)
    found = scenes.denoised(
        calls.model, hostkit.run_node("ConditioningCombine", conditioning_1=a, conditioning_2=b)[0], n, start
    )
    swapped = {"mug": scenes.DOG, "dog": scenes.MUG}
    parts = [
        scenes.denoised(scenes.naive_model(model, layout, rows), cond, negative, start, cfg=1.0)
        for layout, rows, cond in ((here, ROWS, first), (there, swapped, second), (one, {"dog": (2,)}, negative))
    ]
    expected = parts[2] + ((parts[0] + parts[1]) / 2 - parts[2]) * 7.5
    return {"calls": calls.count, "error": hostkit.relative_error(found, expected)}


def area(name: str) -> dict:
    """A prompt confined to the right half follows that half of the layout; its twin among the negatives none."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise(height=12, width=16)
    layout = scenes.layout(dog=(0.0, 0.5, 0.5, 1.0), mug=(0.5, 0.25, 1.0, 0.75))
    guided_model, guided = scenes.guide(model, positive, layout)
    confined = hostkit.run_node(
        "ConditioningSetArea", conditioning=guided, width=64, height=96, x=64, y=0, strength=1.0
    )[0]
    half = scenes.layout(dog=(0.0, 0.0, 0.5, 1.0), mug=(0.5, 0.0, 1.0, 0.5), width=64)
    found = scenes.denoised(guided_model, confined, negative, start, cfg=1.0)
    expected = scenes.denoised(scenes.naive_model(model, half, ROWS), positive, negative, start[..., 8:], cfg=1.0)

    def negative_part(model):
        with_negative = scenes.denoised(model, confined, negative, start, cfg=3.0)
        return (3 * scenes.denoised(model, confined, negative, start, cfg=1.0) - with_negative) / 2

    return {
        "error": hostkit.relative_error(found[..., 8:], expected),
        "twin": hostkit.relative_error(negative_part(guided_model), negative_part(model)),
    }


def negative_area(name: str) -> dict:
    """A negative prompt confined to the right half makes the host run the positive there once more: guided as well."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, start = scenes.encode(clip), scenes.noise(height=12, width=16)
    negative = hostkit.run_node(
        "ConditioningSetArea", conditioning=hostkit.encode(clip, "blurry"), width=64, height=96, x=64, y=0, strength=1.0
    )[0]
    layout = scenes.layout(dog=(0.0, 0.5, 0.5, 1.0), mug=(0.5, 0.25, 1.0, 0.75))
    half = scenes.layout(dog=(0.0, 0.0, 0.5, 1.0), mug=(0.5, 0.0, 1.0, 0.5), width=64)
    found = scenes.denoised(*scenes.guide(model, positive, layout), negative, start, cfg=1.0)
    whole = scenes.denoised(scenes.naive_model(model, layout, ROWS), positive, positive, start, cfg=1.0)
    part = scenes.denoised(scenes.naive_model(model, half, ROWS), positive, positive, start[..., 8:], cfg=1.0)
    inner = slice(2, None)  # the host fades the part in over two columns
    return {"error": hostkit.relative_error(found[..., 8:][..., inner], ((whole[..., 8:] + part) / 2)[..., inner])}


def area_without_a_subject(name: str) -> dict:
    """A part of the picture that lacks a subject's region excludes that subject everywhere; nothing breaks."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    guided_model, guided = scenes.guide(model, positive, scenes.layout(dog=(0, 0, 1, 0.4), mug=(0, 0.6, 1, 1)))
    confined = hostkit.run_node(
        "ConditioningSetArea", conditioning=guided, width=64, height=96, x=64, y=0, strength=1.0
    )[0]
    return hostkit.summary(scenes.denoised(guided_model, confined, negative, start))


def masked(name: str) -> dict:
    """A mask only weighs predictions: inside it the guided prompt counts alone."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    layout = scenes.layout()
    guided_model, guided = scenes.guide(model, positive, layout)
    left = torch.zeros(1, 12, 16)
    left[..., :8] = 1
    confined, other = (
        hostkit.run_node("ConditioningSetMask", conditioning=cond, mask=mask, strength=1.0, set_cond_area="default")[0]
        for cond, mask in ((guided, left), (hostkit.encode(clip, "a cat"), 1 - left))
    )
    both = hostkit.run_node("ConditioningCombine", conditioning_1=confined, conditioning_2=other)[0]
    found = scenes.denoised(guided_model, both, negative, start)
    expected = scenes.denoised(scenes.naive_model(model, layout, ROWS), positive, negative, start)
    plain = scenes.denoised(model, hostkit.encode(clip, "a cat"), negative, start)
    return {
        "left": hostkit.relative_error(found[..., :8], expected[..., :8]),
        "right": hostkit.relative_error(found[..., 8:], plain[..., 8:]),
    }


def concatenated(name: str) -> dict:
    """ConditioningConcat appends rows: those of the first prompt keep their places."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    layout = scenes.layout()
    guided_model, guided = scenes.guide(model, positive, layout)
    more = hostkit.encode(clip, "a cat on a sofa")
    join = lambda cond: hostkit.run_node("ConditioningConcat", conditioning_to=cond, conditioning_from=more)[0]  # noqa: E731
    found = scenes.denoised(guided_model, join(guided), negative, start)
    late_model, late = scenes.guide(model, join(positive), layout)
    naive = scenes.naive_model(model, layout, ROWS, 154)
    expected = scenes.denoised(naive, join(positive), negative, start)
    return {
        "before": hostkit.relative_error(found, expected),
        "after": hostkit.relative_error(scenes.denoised(late_model, late, negative, start), expected),
    }


def split_by_memory(name: str) -> dict:
    """A host short of memory runs the conditionings one by one; the picture is the same."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    guided_model, guided = scenes.guide(model, positive, scenes.layout())
    together = scenes.denoised(guided_model, guided, negative, start)
    calls = scenes.Calls(guided_model)
    calls.model.get_free_memory = lambda device: 0
    alone = scenes.denoised(calls.model, guided, negative, start)
    return {"calls": calls.count, "error": hostkit.relative_error(alone, together)}


def second_pass(name: str) -> dict:
    """The same conditioning at another size and shape."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = scenes.encode(clip), hostkit.encode(clip, "blurry")
    layout = scenes.layout()
    guided_model, guided = scenes.guide(model, positive, layout)
    naive = scenes.naive_model(model, layout, ROWS)
    errors = []
    for height, width in ((8, 12), (18, 20), (8, 12)):
        start = scenes.noise(1, height, width)
        errors.append(
            hostkit.relative_error(
                scenes.denoised(guided_model, guided, negative, start),
                scenes.denoised(naive, positive, negative, start),
            )
        )
    return {"errors": errors}


def with_windows(model: Any, dim: int, length: int, **options: Any) -> Any:
    """A clone that sees one dimension of the latents in windows side by side, as Context Windows (Manual) makes it."""
    clone = model.clone()
    clone.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("flat"),
        context_length=length, context_overlap=0, dim=dim, **options,
    )  # fmt: skip
    return clone


def spatial_windows(name: str, dim: int, before: int) -> dict:
    """Windows over 16 latent rows or columns: each follows its own part of the layout.

    before: how many latents of the first window the second sees too, which the host cuts off again.
    """
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise(height=16, width=16)
    picture = scenes.box_image({(255, 0, 0): (0, 0.1, 0.9, 1), (255, 192, 0): (0.3, 0.2, 0.6, 0.8)}, 128, 128)
    guided_model, guided = scenes.guide(model, positive, layout_of(picture))
    windowed = with_windows(guided_model, dim, 8, causal_window_fix=bool(before))
    found = scenes.denoised(windowed, guided, negative, start)
    parts = []
    for first, more in ((0, 0), (8, before)):
        part = layout_of(picture.narrow(dim - 1, 8 * (first - more), 8 * (8 + more)))
        latents = start.narrow(dim, first - more, 8 + more)
        parts.append(scenes.denoised(scenes.naive_model(model, part, ROWS), positive, negative, latents))
    return {"error": hostkit.relative_error(found, torch.cat([parts[0], parts[1].narrow(dim, before, 8)], dim))}


def layout_of(picture: torch.Tensor) -> Any:
    colors = "255,0,0 = dog\n255,192,0 = mug"
    return hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors=colors, tolerance=0.0)[0]


def batch_windows(name: str) -> dict:
    """Windows over the pictures of a batch, each with a prompt of its own: the layout stays whole."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = scenes.encode(clip), hostkit.encode(clip, "blurry")
    start = scenes.noise(batch=4)
    guided_model, guided = scenes.guide(model, positive, scenes.layout())
    guided = [[torch.cat([cond] * 4), {key: value for key, value in options.items() if key != "pooled_output"}]
              for cond, options in guided]  # fmt: skip
    found = scenes.denoised(with_windows(guided_model, 0, 2), guided, negative, start)
    expected = scenes.denoised(guided_model, guided, negative, start)
    plain = scenes.denoised(model, guided, negative, start)
    return {"error": hostkit.relative_error(found, expected), "effect": hostkit.relative_error(found, plain)}


def controlled(name: str) -> dict:
    """A ControlNet adds to the guided model what it adds to any other."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start, layout = (
        scenes.encode(clip),
        hostkit.encode(clip, "blurry"),
        scenes.noise(),
        scenes.layout(),
    )
    guided_model, guided = scenes.guide(model, positive, layout)
    control = scenes.controlnet(model)
    image = scenes.box_image({(0, 0, 0): (0.2, 0.2, 0.8, 0.8)})
    apply = lambda a, b: hostkit.run_node(  # noqa: E731
        "ControlNetApplyAdvanced",
        positive=a,
        negative=b,
        control_net=control,
        image=image,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    found = scenes.denoised(guided_model, *apply(guided, negative), start)
    expected = scenes.denoised(scenes.naive_model(model, layout, ROWS), *apply(positive, negative), start)
    return {
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, scenes.denoised(guided_model, guided, negative, start)),
    }


def exported(name: str, folder: str) -> dict:
    """One guided prediction of the host, with all that is needed to repeat it elsewhere, as files in `folder`."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start, layout = (
        scenes.encode(clip),
        hostkit.encode(clip, "blurry"),
        scenes.noise(),
        scenes.layout(),
    )
    sigma = 5.0
    found = scenes.denoised(*scenes.guide(model, positive, layout), negative, start, sigma=sigma)
    weights = model.model.diffusion_model.state_dict()
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    kept = {new: old for new, old in names.items() if old in weights and not new.startswith("class_embedding.")}
    save_file(
        {new: weights[old].float().contiguous() for new, old in kept.items()},  # SDXL has add_embedding instead
        f"{folder}/unet.safetensors",
    )
    tensors = {
        "noise": start * sigma,
        "positive": positive[0][0],
        "negative": negative[0][0],
        "denoised": model.model.process_latent_in(found),
    }
    tensors |= {
        "timestep": model.model.model_sampling.timestep(torch.tensor([sigma])),
        "mask_dog": layout.regions[0].mask,
        "mask_mug": layout.regions[1].mask,
    }
    for key, conditioning in (("positive", positive), ("negative", negative)):
        if "adm_in_channels" in model.model.model_config.unet_config:
            tensors[f"{key}_pooled"] = conditioning[0][1]["pooled_output"]
    save_file({key: value.contiguous() for key, value in tensors.items()}, f"{folder}/case.safetensors")
    return {"sigma": sigma, "cfg": 7.5, "context": int(positive[0][0].shape[-1])}
