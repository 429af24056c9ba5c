"""From image features to image tokens, and to what each layer attends to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cones2.errors import AdapterError
from cones2.picture_adapter.adapter import PictureAdapter, default_scale
from cones2.picture_adapter.adapter_file import adapter_of
from cones2.picture_adapter.projection import project
from cones2.picture_adapter.references import MAX_REFERENCES, Reference, make_references
from cones2.prompt.claims import PhraseRef
from tests.support.picture_adapters import FEATURES, TOKENS, adapter_weights, resampler_weights

WIDTHS, WIDTH, STATES = (8, 16), 12, 20


def plus_adapter() -> PictureAdapter:
    return adapter_of({**adapter_weights(WIDTHS, WIDTH), "image_proj": resampler_weights(WIDTH, STATES)})


def naive_resampler(weights: dict[str, Tensor], states: Tensor) -> Tensor:
    """One picture, one head of 64: queries and keys each scaled by 64^-¼."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros(1))

    def norm(name: str, x: Tensor) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x, z = linear("proj_in", states), weights["latents"][0]
    for layer in ("layers.0", "layers.1"):
        seen, own = norm(f"{layer}.0.norm1", x), norm(f"{layer}.0.norm2", z)
        k, v = linear(f"{layer}.0.to_kv", torch.cat([seen, own])).split(64, -1)
        q = linear(f"{layer}.0.to_q", own)
        scores = (q * 64**-0.25) @ (k * 64**-0.25).T
        z = z + linear(f"{layer}.0.to_out", scores.softmax(-1) @ v)
        z = z + linear(f"{layer}.1.3", F.gelu(linear(f"{layer}.1.1", norm(f"{layer}.1.0", z))))
    return norm("norm_out", linear("proj_out", z))


def test_a_resampler_is_the_published_formula() -> None:
    weights, states = resampler_weights(WIDTH, STATES), torch.randn(2, 9, STATES)
    tokens = project(plus_adapter(), states)
    for ours, own in zip(tokens, states, strict=True):
        torch.testing.assert_close(ours, naive_resampler(weights, own), atol=1e-4, rtol=1e-4)


def test_a_linear_projection_makes_normed_tokens() -> None:
    tokens = project(adapter_of(adapter_weights(WIDTHS, WIDTH)), torch.randn(3, FEATURES))
    assert tokens.shape == (3, TOKENS, WIDTH)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(3, TOKENS), atol=1e-5, rtol=0)


def test_each_kind_has_its_published_scale() -> None:
    assert default_scale(plus_adapter()) == 0.65
    assert default_scale(adapter_of(adapter_weights(WIDTHS, WIDTH))) == 0.75


def reference(name: str, *features: Tensor, rows: int = 1) -> Reference:
    return Reference(PhraseRef(name), torch.stack(features), torch.randn(rows, WIDTH))


def test_several_pictures_of_a_subject_are_averaged_as_tokens() -> None:
    adapter = adapter_of(adapter_weights(WIDTHS, WIDTH))
    one, two = torch.randn(2, FEATURES)
    together = make_references(adapter, [reference("cat", one, two)], torch.zeros(1, FEATURES), 1.0).layers[0]
    apart = [make_references(adapter, [reference("cat", own)], torch.zeros(1, FEATURES), 1.0) for own in (one, two)]
    keys = torch.stack([each.layers[0].keys[0] for each in apart]).mean(0)
    torch.testing.assert_close(together.keys[0], keys)
    torch.testing.assert_close(together.keys[1], apart[0].layers[0].keys[1])


def test_the_unconditional_picture_of_a_linear_projection_is_zero_features() -> None:
    adapter = adapter_of(adapter_weights(WIDTHS, WIDTH))
    made = make_references(adapter, [reference("cat", torch.randn(FEATURES))], torch.randn(1, FEATURES), 1.0)
    tokens = project(adapter, torch.zeros(1, FEATURES))[0]
    torch.testing.assert_close(made.layers[1].values[1], tokens @ adapter.layers[1].to_v.T)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (torch.randn(1, FEATURES + 1), f"reads image features {FEATURES} wide, but this image encoder gives 25"),
        (torch.full((1, FEATURES), torch.nan), "the image encoder gives values that are not numbers"),
    ],
)
def test_features_of_another_encoder_are_refused(features: Tensor, sentence: str) -> None:
    with pytest.raises(AdapterError, match=sentence):
        project(adapter_of(adapter_weights(WIDTHS, WIDTH)), features)


@pytest.mark.parametrize(
    ("references", "sentence"),
    [
        ([], "no subject has a picture"),
        ([reference("cat", torch.ones(FEATURES), rows=0)], 'the name "cat" has 0 tokens'),
        ([reference("cat", torch.randn(FEATURES)) for _ in range(MAX_REFERENCES + 1)], "at most 16 are taken"),
        (
            [reference("cat", torch.zeros(FEATURES), torch.ones(FEATURES)), reference("dog", torch.ones(FEATURES))],
            r"two subjects \(cat, dog\) have the same picture",
        ),
    ],
)
def test_references_that_cannot_be_used_are_named(references: list[Reference], sentence: str) -> None:
    adapter = adapter_of(adapter_weights(WIDTHS, WIDTH))
    with pytest.raises(AdapterError, match=sentence):
        make_references(adapter, references, torch.zeros(1, FEATURES), 1.0)
