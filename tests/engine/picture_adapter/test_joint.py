"""The batch whose pictures have different references computes what each picture alone does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cones2.picture_adapter.adapter_file import adapter_of
from cones2.picture_adapter.attention import name_weights, picture_part
from cones2.picture_adapter.joint import JointPictures
from cones2.picture_adapter.projection import project
from cones2.picture_adapter.references import layer_pictures
from tests.support.picture_adapters import FEATURES, adapter_weights

HEADS, WIDTH, CELLS, TEXT = 2, 8, 12, 16


class Layer:
    """What the formula asks of a layer: its text keys."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.to_k = nn.Linear(TEXT, WIDTH, bias=False)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def batch(adapter, features: Tensor, names: list[list[int]]):
    """Pictures whose references have names of so many tokens."""
    rows = drawn(*features.shape[:2], 3, TEXT, seed=2)
    tokens = project(adapter, features.flatten(0, 1)).unflatten(0, features.shape[:2])
    lengths = torch.tensor([each + [0] * (features.shape[1] - len(each)) for each in names])
    return JointPictures(tokens, rows, lengths, adapter.layers, 0.8)


def test_each_entry_gets_what_it_gets_alone() -> None:
    adapter, attn = adapter_of(adapter_weights([WIDTH], TEXT)), Layer()
    features, names = drawn(2, 3, FEATURES), [[2, 1, 3], [3, 1]]
    joint = batch(adapter, features, names)
    q, h = drawn(2, HEADS, CELLS, WIDTH // HEADS, seed=3), drawn(2, CELLS, WIDTH, seed=4)
    found = joint.added(0, attn, q, h, (3, 4))
    for entry, lengths in enumerate(names):
        count = len(lengths)
        layer = layer_pictures(adapter, joint.tokens[entry, :count])[0]
        keys = [attn.to_k(joint.name_rows[entry, index, :length]) for index, length in enumerate(lengths)]
        own = slice(entry, entry + 1)
        expected = picture_part(q[own], h[own], layer, name_weights(q[own], keys), [1.0] * count, 0.8)
        torch.testing.assert_close(found[own], expected, rtol=1e-5, atol=1e-5)


def test_an_entry_without_references_gets_nothing_and_its_gradient_is_finite() -> None:
    adapter, attn = adapter_of(adapter_weights([WIDTH], TEXT)), Layer()
    adapter.layers[0].to_v.requires_grad_(True)
    joint = batch(adapter, drawn(2, 1, FEATURES), [[1], []])
    q, h = drawn(2, HEADS, CELLS, WIDTH // HEADS, seed=3), drawn(2, CELLS, WIDTH, seed=4)
    found = joint.added(0, attn, q, h, (3, 4))
    found.square().sum().backward()
    assert found[0].any() and not found[1].any()
    assert adapter.layers[0].to_v.grad.isfinite().all() and attn.to_k.weight.grad is None
