"""Drivers for layout guidance: what the patched model computes."""

import hostkit
import scenes
import torch

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
