"""Drivers for layout guidance beside what other packs do to a model."""

import threading
from typing import Any

import comfy.hooks
import comfy.sd
import hostkit
import scenes
import torch
from comfy.ldm.modules import attention as host_attention
from foreign import Foreign, lora_weights
from torch import Tensor

ROWS = {"dog": scenes.DOG, "mug": scenes.MUG}


REFUSE_MASKS = ("attention_flash",)


def beside(name: str, kind: str) -> dict:
    """The guided prediction with a foreign change made before and after ours, against the formula with that change."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start, layout = (
        scenes.encode(clip),
        hostkit.encode(clip, "blurry"),
        scenes.noise(),
        scenes.layout(),
    )
    foreign = Foreign()
    change = getattr(foreign, kind)
    guided_model, guided = scenes.guide(model, positive, layout)
    calls = scenes.Calls(change(guided_model))
    after = scenes.denoised(calls.model, guided, negative, start)
    used = foreign.calls
    before = scenes.denoised(scenes.guide(change(model), positive, layout)[0], guided, negative, start)
    return {
        "forwards": calls.count,
        "used": used,
        "order": hostkit.relative_error(before, after),
        "error": hostkit.relative_error(
            after, scenes.denoised(expected_model(model, layout, kind, foreign), positive, negative, start)
        ),
        "change": hostkit.relative_error(after, scenes.denoised(guided_model, guided, negative, start)),
        "guidance": hostkit.relative_error(after, scenes.denoised(change(model), positive, negative, start)),
    }


def expected_model(model: Any, layout: Any, kind: str, foreign: Foreign) -> Any:
    """The formula written out together with the foreign change: biased(q, k, v) + foreign(q, k, v) − plain(q, k, v)."""
    if kind not in ("replacement", "block_replacement"):
        return getattr(foreign, kind)(
            scenes.naive_model(model, layout, ROWS, value_factor=1.1 if kind == "override" else 1.0)
        )
    theirs = getattr(foreign, kind)(model).model_options["transformer_options"]["patches_replace"]["attn2"]
    ours = scenes.naive_model(model, layout, ROWS)
    replaced = ours.model_options["transformer_options"]["patches_replace"]["attn2"]
    for key, naive in list(replaced.items()):
        other = theirs.get(key, theirs.get(key[:2]))
        if other is not None:
            replaced[key] = lambda q, k, v, extra, naive=naive, other=other: (
                naive(q, k, v, extra) + other(q, k, v, extra) - scenes.plain_attention(q, k, v, extra)
            )
    return ours


def beside_hook(name: str) -> dict:
    """A foreign LoRA hook on the guided conditioning gives what the same LoRA on the model gives."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, start, layout = scenes.encode(clip), scenes.noise(), scenes.layout()
    guided_model, guided = scenes.guide(model, positive, layout)
    group = comfy.hooks.create_hook_lora(lora_weights(model), 1.0, 0.0)
    hooked = comfy.hooks.set_hooks_for_conditioning(guided, group)
    first = comfy.hooks.set_hooks_for_conditioning(positive, group)
    late_model, late = scenes.guide(model, first, layout)
    lora = comfy.sd.load_lora_for_models(model, None, lora_weights(model), 1.0, 0.0)[0]
    expected = scenes.denoised(scenes.naive_model(lora, layout, ROWS), positive, positive, start, cfg=1.0)
    return {
        "before": hostkit.relative_error(scenes.denoised(late_model, late, positive, start, cfg=1.0), expected),
        "after": hostkit.relative_error(scenes.denoised(guided_model, hooked, positive, start, cfg=1.0), expected),
        "change": hostkit.relative_error(expected, scenes.denoised(guided_model, guided, positive, start, cfg=1.0)),
    }


def chained(name: str) -> dict:
    """Two Apply Layout Guidance nodes on one wire steer once; the later layout of a conditioning counts."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    once_model, once = scenes.guide(model, positive, scenes.layout())
    other = scenes.layout(dog=(0, 0.5, 1, 1), mug=(0, 0, 1, 0.4))
    twice_model, _ = scenes.guide(once_model, positive, other)
    again_model, again = scenes.guide(*scenes.guide(model, positive, other), scenes.layout())
    found = scenes.denoised(once_model, once, negative, start)
    return {
        "twice": hostkit.identical(scenes.denoised(twice_model, once, negative, start), found),
        "again": hostkit.identical(scenes.denoised(again_model, again, negative, start), found),
        "original": hostkit.identical(
            scenes.denoised(model, positive, negative, start), scenes.denoised(model, once, negative, start)
        ),
    }


def threads(name: str) -> dict:
    """Forward passes in two threads at once, each with its own layout: hosts with several GPUs do that."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, start = scenes.encode(clip), scenes.noise()
    cases = [
        scenes.guide(model, positive, scenes.layout()),
        scenes.guide(model, positive, scenes.layout(dog=(0, 0.5, 1, 1))),
    ]
    requests = [captured_forward(guided_model, guided, start) for guided_model, guided in cases]
    alone = [run_forward(model, request) for request in requests]
    together: dict[int, list[Tensor]] = {0: [], 1: []}

    def work(index: int) -> None:
        for _ in range(4):
            together[index].append(run_forward(model, requests[index]))

    workers = [threading.Thread(target=work, args=(index,)) for index in together]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    return {
        "different": hostkit.relative_error(alone[0], alone[1]),
        "same": all(hostkit.identical(x, alone[index]) for index, found in together.items() for x in found),
        "runs": [len(found) for found in together.values()],
    }


def captured_forward(model: Any, conditioning: Any, start: Tensor) -> tuple:
    """What the host hands to apply_model in one guided call."""
    found: list[tuple] = []

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        found.append((executor, args, kwargs))
        return executor(*args, **kwargs)

    clone = model.clone()
    clone.wrappers = {**clone.wrappers, "apply_model": {"spy": [spy], **clone.wrappers["apply_model"]}}
    scenes.denoised(clone, conditioning, conditioning, start, cfg=1.0)
    return found[0]


def run_forward(model: Any, request: tuple) -> Tensor:
    executor, args, kwargs = request
    with torch.inference_mode():
        return executor(*args, **kwargs)


def attention_backend(name: str, backend: str) -> dict:
    """The guided prediction with another attention function of the host, chosen as its command line does."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative, start = scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.noise()
    guided_model, guided = scenes.guide(model, positive, scenes.layout())
    expected = scenes.denoised(guided_model, guided, negative, start)
    usual, masks = host_attention.optimized_attention, []
    chosen = getattr(host_attention, backend)

    def watched(*args: Any, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        masks.append(mask)
        return chosen(*args, mask=mask, **kwargs)

    host_attention.optimized_attention = chosen if backend in REFUSE_MASKS else watched
    try:
        with hostkit.warnings_of() as warnings:
            found = scenes.denoised(guided_model, guided, negative, start)
    finally:
        host_attention.optimized_attention = usual
    return {
        "error": hostkit.relative_error(found, expected),
        "masked": sum(mask is not None for mask in masks),
        "warnings": [text for text in warnings if "Mask must not be set" in text],
    }
