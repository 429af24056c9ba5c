"""Drivers for prompts of diffusion transformers: which rows of what the model reads are a word's."""

from typing import Any

import hostkit
import scenes
import torch
from comfy.text_encoders import qwen_image
from tiny_transformers import FAMILIES, Vectors, klein_clip, sd3_clip_of

PROMPT = 'dog on a red mug, the Dog’s hotdog and a "mug" near a corgi dog.'


def rows(name: str, prompt: str, phrases: list[str]) -> dict:
    """The token indices of each phrase, and whether rows there are those of the same words alone."""
    clip = klein_clip() if name == "Klein" else FAMILIES[name].clip()
    cond, options = scenes.encode(clip, prompt)[0]
    record = options["cones2_prompt"]
    parse = scenes.module("cones2.prompt.claims").parse_phrase
    claims = record.locate([parse(phrase) for phrase in phrases])
    return {
        "rows": [claim and [list(span) for span in claim.spans] for claim in claims],
        "length": cond.shape[1],
        "own": [min(record.own), max(record.own), len(record.own)],
        "family": record.family.key,
        "says": [claim and _said(clip, name, cond, claim.spans) for claim in claims],
    }


def _said(clip: Any, name: str, cond: torch.Tensor, spans: Any) -> list[list[str]] | None:
    """What the tokens behind the rows say: vectors of a token are those of its id alone."""
    if name == "Anima":
        return None  # its rows are made in the model
    key = next(iter(clip.tokenize("")))
    key = "t5xxl" if name in ("Flux.1", "SD3.5") else key
    part = getattr(clip.tokenizer, key, None) or getattr(clip.tokenizer, f"clip_{key}")
    tokens = {token[0] for chunk in clip.tokenize(PROMPT)[key] for token in chunk}
    width, layers = cond.shape[-1], getattr(getattr(clip.cond_stage_model, key, None), "layers", 0)
    vectors = {}
    for token in tokens:
        found = Vectors(width // max(layers, 1), layers).encode_token_weights([[(token, 1.0)]])[0]
        vectors[part.inv_vocab[token]] = found.reshape(-1)
    spoken = lambda row: [word for word, vector in vectors.items() if torch.equal(vector, cond[0, row])]  # noqa: E731
    return [[" ".join(spoken(row)) for row in span] for span in spans]


def clip_words(prompt: str, words: list[str]) -> list[list[list[int]]]:
    """Where CLIP's own spelling of each word stands among the tokens of SD 3.5."""
    clip = FAMILIES["SD3.5"].clip()
    pieces = [clip.tokenizer.clip_l.inv_vocab[token[0]] for token in clip.tokenize(prompt)["l"][0]]
    return [[[place] for place, piece in enumerate(pieces) if piece == f"{word}</w>"] for word in words]


def mistakes(name: str) -> dict:
    """A word that the prompt does not have, and a residual for such a prompt."""
    clip = FAMILIES[name].clip()
    conditioning = scenes.encode(clip, PROMPT)
    model, check_known = FAMILIES[name], scenes.module("nodes.host.prompt_record").check_known
    dog = scenes.module("cones2.prompt.claims").parse_phrase("dog")
    residual = scenes.module("cones2.concepts.residual").make_residual(
        "dog", torch.ones(1, model.columns), {"encoder": "umt5xxl"}
    )
    return {
        "absent": _message(lambda: scenes.module("nodes.host.conditioning").guide_conditioning(
            conditioning, scenes.layout(), scenes.module("cones2.rules").DEFAULT_GUIDANCE,
            scenes.module("nodes.host.bound_layout").Window(),
        )),
        "cat": _message(lambda: check_known([scenes.encode(clip, "a cat")[0][1]["cones2_prompt"]], [dog])),
        "residual": _message(lambda: hostkit.run_node(
            "Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals={"residual0": (residual,)},
        )),
    }  # fmt: skip


def residuals(name: str, encoder: str, width: int | None = None) -> dict:
    """Where a residual of two words changes the conditioning of Apply Residual to Conditioning, and that of Scene with
    the same residual, saved and loaded, in a region."""
    clip, prompt = FAMILIES[name].clip(), "a red corgi on a mug, no corgi"
    conditioning = scenes.encode(clip, prompt)
    before, record = conditioning[0][0], conditioning[0][1]["cones2_prompt"]
    rows = next((rows for rows in record.rows if rows.encoder == encoder), record.rows[0])
    stream = record.stream_of(rows)
    parse = scenes.module("cones2.prompt.claims").parse_phrase
    (claim,) = scenes.module("cones2.prompt.claims").locate_subjects(stream.tokens, [parse("corgi")], stream.tokenize)
    count = len(claim.spans[0])
    vectors = torch.randn(count, width or before.shape[-1], generator=torch.Generator().manual_seed(0))
    make = scenes.module("cones2.concepts.residual").make_residual
    residual = make("corgi", vectors, {"encoder": encoder, "family": record.family.key})
    changed = hostkit.run_node(
        "Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals={"residual0": (residual,)}
    )[0][0][0]
    expected = before.clone()
    for span in claim.spans:
        for vector, row in zip(vectors, span, strict=True):
            expected[0, row, : len(vector)] += vector
    hostkit.run_node("Cones2SaveResidual", residual=(residual,), name="of_transformer", overwrite=True)
    loaded = hostkit.run_node(
        "Cones2LoadResidual", file="of_transformer.safetensors", subject="", strength=1.0
    )[0]  # fmt: skip
    positive = hostkit.run_node(
        "Cones2Scene", clip=clip, prompt=prompt, negative_prompt="", width=128, height=64, batch_size=1,
        layout_document="", residuals={"residual0": loaded},
    )[0]  # fmt: skip
    return {
        "spans": [list(span) for span in claim.spans],
        "exact": hostkit.identical(changed, expected),
        "scene": hostkit.identical(positive[0][0], expected),
        "rows": sorted({int(row) for row in (changed != before).nonzero()[:, 1]}),
        "loaded": [loaded[0].encoder, loaded[0].family],
    }


def scene(name: str) -> dict:
    """Scene without residuals, with a region in the prompt."""
    clip = FAMILIES[name].clip()
    positive, _, _, layout = hostkit.run_node(
        "Cones2Scene", clip=clip, prompt="a dog[region 0 0 0.5 1] on a mug", negative_prompt="", width=128, height=64,
        batch_size=1, layout_document="",
    )  # fmt: skip
    plain = scenes.encode(clip, "a dog on a mug")
    return {
        "encoded": hostkit.identical(positive[0][0], plain[0][0]),
        "subjects": [region.subject for region in layout.regions],
        "carried": positive[0][1]["cones2_layout"].layout is layout,
    }


def _message(call: Any) -> str:
    try:
        call()
    except Exception as error:
        return str(error)
    return ""


def without_encoders() -> dict:
    """SD 3.5 with its two CLIPs alone, with T5 alone, and a conditioning of neither length."""
    dog = scenes.module("cones2.prompt.claims").parse_phrase("dog")
    both = dict(clip_l=Vectors(768, more=False), clip_g=Vectors(1280, more=False))
    found = {}
    for key, clip in (("clips", sd3_clip_of(**both)), ("t5", sd3_clip_of(t5xxl=Vectors(4096, more=False)))):
        cond, options = scenes.encode(clip, "a dog")[0]
        found[key] = [[list(span) for span in options["cones2_prompt"].locate([dog])[0].spans], cond.shape[1]]
    return found


def edit_template() -> dict:
    """A conditioning whose prompt was encoded with a picture before it: rows count from the end."""
    clip = FAMILIES["Qwen-Image"].clip()
    record, _ = scenes.module("nodes.host.prompt_record").read_prompt(clip, PROMPT)
    plain = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))[0][0]
    picture = torch.zeros(1, 190, plain.shape[-1])
    longer = torch.cat([picture, plain], 1)
    dog = scenes.module("cones2.prompt.claims").parse_phrase("dog")
    at = lambda cond: [list(span) for span in record.of(cond).locate([dog])[0].spans]  # noqa: E731
    assert qwen_image.QwenImageTokenizer().llama_template_images.endswith("{}<|im_end|>\n<|im_start|>assistant\n")
    return {"plain": at(plain), "picture": at(longer)}
