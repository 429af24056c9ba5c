"""Drivers for Custom Diffusion: what Apply, Merge and Compress do to the host's MODEL and CLIP."""

from pathlib import Path
from typing import Any

import folder_paths
import hostkit
import scenes
import torch
from delta_files import apply, delta_folder, load, saved_delta
from tiny_transformers import FAMILIES, build


def with_weights(model: Any, name: str) -> Any:
    """The model with a file's weights set in the host's own way."""
    state = torch.load(delta_folder() / name, weights_only=True)["state_dict"]
    clone = model.clone()
    clone.add_patches({key.removeprefix("model."): ("set", (state[key],)) for key in state if key != "embed"})
    return clone


def applied(name: str) -> dict:
    """A delta's weights against the host's own "set", and what is left of it at strength 0 and in the base."""
    model, clip, _ = hostkit.checkpoint(name)
    file = saved_delta(model, "one.bin", 1)
    positive, negative, start = hostkit.encode(clip, "a dog"), hostkit.encode(clip, ""), scenes.noise()
    before = scenes.denoised(model, positive, negative, start)
    patched, _, tokens = apply(model, clip, load(file))
    found = scenes.denoised(patched, positive, negative, start)
    expected = scenes.denoised(with_weights(model, file), positive, negative, start)
    nothing = apply(model, clip, load(file), 0.0)[0]
    half = apply(*apply(model, clip, load(file), 0.5)[:2], load(file), 0.5)[0]
    return {
        "tokens": tokens,
        "error": hostkit.relative_error(found, expected),
        "effect": hostkit.relative_error(found, before),
        "zero": hostkit.identical(scenes.denoised(nothing, positive, negative, start), before),
        "base": hostkit.identical(scenes.denoised(model, positive, negative, start), before),
        "halves": hostkit.relative_error(scenes.denoised(half, positive, negative, start), expected),
    }


def words(name: str) -> dict:
    """The token in text nodes: the same as a textual inversion; prompts without it as before; two of one name."""
    model, clip, _ = hostkit.checkpoint(name)
    file, other = saved_delta(model, "one.bin", 1), saved_delta(model, "two.bin", 2)
    before = hostkit.encode(clip, "a dog")[0][0]
    _, knowing, _ = apply(model, clip, load(file))
    path = Path(folder_paths.get_folder_paths("custom_diffusion")[0]) / file
    row = torch.load(path, weights_only=True)["state_dict"]["embed"][0]
    inverted = clip.tokenize("photo of a dog")
    for chunks in inverted.values():
        chunks[0][4:] = [(row, 1.0), *chunks[0][4:-1]]  # as the host puts a textual inversion into a prompt
    plain = clip.encode_from_tokens(inverted)
    _, both, tokens = apply(model, knowing, load(other))
    return {
        "as inversion": hostkit.identical(hostkit.encode(knowing, "photo of a <new1> dog")[0][0], plain),
        "without": hostkit.identical(hostkit.encode(knowing, "a dog")[0][0], before),
        "unknown": hostkit.identical(
            hostkit.encode(clip, "photo of a <new1> dog")[0][0], hostkit.encode(knowing, "photo of a <new1> dog")[0][0]
        ),
        "first kept": hostkit.identical(
            hostkit.encode(both, "a <new1> dog")[0][0], hostkit.encode(knowing, "a <new1> dog")[0][0]
        ),
        "second": not hostkit.identical(
            hostkit.encode(both, "a <new2> dog")[0][0], hostkit.encode(both, "a <new1> dog")[0][0]
        ),
        "tokens": tokens,
    }


def phrases(name: str) -> dict:
    """ "<new1> dog" as the phrase that a layout steers."""
    model, clip, _ = hostkit.checkpoint(name)
    patched, knowing, _ = apply(model, clip, load(saved_delta(model, "one.bin", 1)))
    positive = hostkit.run_node("Cones2TextEncode", clip=knowing, text="a <new1> dog and a mug")[0]
    record = positive[0][1]["cones2_prompt"]
    layout = hostkit.run_node(
        "Cones2LayoutFromMasks", masks={"mask0": torch.eye(12)[None]}, subjects="<new1> dog", weight=2.5
    )[0]
    guided_model, guided = scenes.guide(patched, positive, layout)
    negative, start = hostkit.encode(knowing, ""), scenes.noise()
    found = scenes.denoised(guided_model, guided, negative, start)
    return {
        "words": [token.piece.text.decode() for token in record.tokens.tokens],
        "indices": [token.index for token in record.tokens.tokens],
        "effect": hostkit.relative_error(found, scenes.denoised(patched, positive, negative, start)),
    }


def merged(name: str) -> dict:
    """Two deltas of one token name merged, saved, loaded and compressed."""
    model, clip, _ = hostkit.checkpoint(name)
    one, two = (load(saved_delta(model, f"{word}.bin", seed), word) for seed, word in ((1, "dog"), (2, "mug")))
    delta, tokens, report = hostkit.run_node(
        "Cones2MergeCustomDiffusion", model=model, clip=clip, deltas={"delta0": one, "delta1": two}, captions=""
    )
    small = hostkit.run_node("Cones2CompressCustomDiffusion", model=model, delta=delta, ratio=0.5)[0]
    hostkit.run_node("Cones2SaveCustomDiffusion", delta=small, name="merged_small", overwrite=True)
    again = load("merged_small.safetensors", "")
    return {
        "tokens": tokens,
        "report": report,
        "stored": small.stored,
        "again": len(again.weights),
        "of": len(one.weights),
    }


def merged_on_a_clip_that_knows(name: str) -> bool:
    """Whether a merge is the same on a CLIP that one of the deltas was applied to, whose words have the same name."""
    model, clip, _ = hostkit.checkpoint(name)
    one, two = (load(saved_delta(model, f"{word}.bin", seed), word) for seed, word in ((1, "dog"), (2, "mug")))
    found = [
        hostkit.run_node(
            "Cones2MergeCustomDiffusion", model=model, clip=each, deltas={"delta0": one, "delta1": two}, captions=""
        )[0]
        for each in (clip, apply(model, clip, two)[1])
    ]
    return all(torch.equal(change.tensor, found[1].weights[key].tensor) for key, change in found[0].weights.items())


def refused(name: str, other: str) -> str:
    """The message for a delta of another family of models."""
    model, clip, _ = hostkit.checkpoint(name)
    foreign = hostkit.checkpoint(other)[0]
    file = saved_delta(foreign, "foreign.bin", 3, 1024)
    try:
        apply(model, clip, load(file))
    except ValueError as error:
        return str(error)
    return ""


def refused_by_transformers(family: str) -> list[str]:
    """The messages of Apply and Merge on the CLIP of a transformer, and of Apply on its MODEL."""
    model, clip, _ = hostkit.checkpoint("sd15_short")
    delta = load(saved_delta(model, "one.bin", 1))
    other = FAMILIES[family].clip()
    calls = [
        lambda: apply(model, other, delta),
        lambda: hostkit.run_node(
            "Cones2MergeCustomDiffusion",
            model=model,
            clip=other,
            deltas={"delta0": delta, "delta1": delta},
            captions="",
        ),
        lambda: apply(build(FAMILIES[family]), clip, delta),
    ]
    said = []
    for call in calls:
        try:
            call()
            said.append("")
        except ValueError as error:
            said.append(str(error))
    return said
