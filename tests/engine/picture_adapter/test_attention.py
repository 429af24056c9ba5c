"""What pictures add to the cross-attentions of a UNet: equal to the formula written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cones2.diffusers_models.attention import ForwardState, cross_attention_layers, guided_unet
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.picture_pass import PicturePass
from cones2.layout.regions import Layout, Region
from cones2.picture_adapter import attention
from cones2.picture_adapter.adapter_file import adapter_of
from cones2.picture_adapter.attention import name_weights, text_factor
from cones2.picture_adapter.references import References, layer_pictures
from cones2.picture_adapter.shares import region_shares
from cones2.prompt.claims import PhraseRef
from cones2.sampling.settings import SamplingSettings
from cones2.scene import compose
from tests.support.picture_adapters import TOKENS, adapter_weights, naive_layer
from tests.support.tiny_diffusers import WIDTH, tiny_model

NAMES = ("cat", "dog", "hat", "mug", "car", "cup")


@pytest.fixture(scope="module")
def model() -> DiffusersModel:
    return tiny_model("epsilon")


def weights_for(model: DiffusersModel, kind: str = "mip") -> dict[str, dict[str, Tensor]]:
    return adapter_weights(model.cross_attention_widths, WIDTH, kind)


def references_for(model: DiffusersModel, count: int, kind: str = "mip", scale: float = 0.75) -> References:
    generator = torch.Generator().manual_seed(count)
    tokens = torch.randn(count + 1, TOKENS, WIDTH, generator=generator)
    rows = [torch.randn(1 + number % 3, WIDTH, generator=generator) for number in range(count)]
    layers = layer_pictures(adapter_of(weights_for(model, kind)), tokens)
    subjects = tuple(PhraseRef(name) for name in NAMES[:count])
    return References(subjects, tuple(rows), (1.0,) * count, layers, scale)


class Naive:
    """A diffusers processor of the written-out formula: row 0 of the batch is unconditional."""

    def __init__(self, references: References, tokens: Tensor, layer: dict[str, Tensor], shares: Any) -> None:
        self.references, self.tokens, self.layer, self.shares = references, tokens, layer, shares
        self.grid = (0, 0)

    def __call__(self, attn: Any, hidden: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        count, own = len(self.references.subjects), self.references
        r = None if self.shares is None else self.shares.at(*self.grid)
        rows = [
            naive_layer(
                attn, hidden[row], encoder_hidden_states[row],
                self.tokens[count:].expand(count, -1, -1) if row == 0 else self.tokens[:count],
                [] if row == 0 else own.name_rows, self.layer, own.scale, r, own.strengths,
            )
            for row in range(2)
        ]  # fmt: skip
        return torch.stack(rows)


def naive_output(model: DiffusersModel, references: References, kind: str, inputs: tuple[Tensor, ...]) -> Tensor:
    """The UNet with naive layers; its own processors are back afterwards."""
    count, stored = len(references.subjects), weights_for(model, kind)["ip_adapter"]
    tokens = torch.randn(count + 1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(count))
    before, hooks = [], []
    for number, (block, attn) in enumerate(cross_attention_layers(model.unet)):
        prefix = f"{2 * number + 1}."
        layer = {
            key.removeprefix(prefix).removesuffix(".weight"): value
            for key, value in stored.items()
            if key.startswith(prefix)
        }
        naive = Naive(references, tokens, layer, references.shares)
        before.append((attn, attn.processor))

        def note(_: Any, args: Any, kwargs: Any, naive: Naive = naive) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            naive.grid = (hidden.shape[-2], hidden.shape[-1])

        hooks.append(block.register_forward_pre_hook(note, with_kwargs=True))
        attn.set_processor(naive)
    sample, timestep, text = inputs
    output: Tensor = model.unet(sample, timestep, encoder_hidden_states=text).sample
    for hook in hooks:
        hook.remove()
    for attn, processor in before:
        attn.set_processor(processor)
    return output


def our_output(model: DiffusersModel, references: References, inputs: tuple[Tensor, ...]) -> Tensor:
    sample, timestep, text = inputs
    state = ForwardState(pictures=PicturePass(references, slice(1, 2), slice(0, 1)))
    with guided_unet(model.unet, state):
        output: Tensor = model.unet(sample, timestep, encoder_hidden_states=text).sample
    return output


def inputs_of(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    sample = torch.randn(1, 4, height, width, generator=generator).repeat(2, 1, 1, 1)
    return sample, torch.tensor(500.0), torch.randn(2, 77, WIDTH, generator=generator)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kind", ["mip", "plain"])
@torch.no_grad()
def test_any_number_of_references_on_a_picture_that_is_not_square(model: DiffusersModel, count: int, kind: str) -> None:
    references, inputs = references_for(model, count, kind), inputs_of(8, 20)
    ours, naive = our_output(model, references, inputs), naive_output(model, references, kind, inputs)
    assert float((ours - model.unet(*inputs[:2], encoder_hidden_states=inputs[2]).sample).abs().max()) > 1e-2
    torch.testing.assert_close(ours, naive, atol=2e-4, rtol=0)


def halves(height: int = 16, width: int = 40) -> Layout:
    left = torch.zeros(height, width, dtype=torch.bool)
    left[:, : width // 2] = True
    return Layout((Region("cat", left), Region("dog", ~left)), height, width)


@pytest.mark.parametrize(("edge", "outside"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.3)])
@torch.no_grad()
def test_a_layout_multiplies_the_weights_and_strengths_count(
    model: DiffusersModel, edge: float, outside: float
) -> None:
    references = references_for(model, 3)
    shares = region_shares(halves(), references.subjects, edge, outside)
    references = replace(references, shares=shares, strengths=(1.0, 0.5, 1.5))
    inputs = inputs_of(8, 20)
    ours, naive = our_output(model, references, inputs), naive_output(model, references, "mip", inputs)
    torch.testing.assert_close(ours, naive, atol=2e-4, rtol=0)


def test_two_references_of_one_name_are_kept_apart_by_a_layout_alone() -> None:
    q, keys = torch.randn(1, 2, 32, 4), torch.randn(3, 8)
    published = name_weights(q, [keys, keys])
    torch.testing.assert_close(published, torch.full_like(published, 0.5))
    shares = region_shares(halves(4, 8), [PhraseRef("cat"), PhraseRef("dog")])
    assert shares is not None
    first, second = name_weights(q, [keys, keys], shares.at(4, 8))[0].view(2, 4, 8)
    assert bool((first[:, :4] == 1).all()) and bool((first[:, 4:] == 0).all())
    torch.testing.assert_close(second, 1 - first)


def test_weights_survive_maps_that_underflow() -> None:
    q = torch.randn(1, 2, 16, 4) * 60
    weights = name_weights(q, [torch.randn(2, 8) * 60, torch.randn(1, 8) * 60])
    assert bool(torch.isfinite(weights).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 16))


def test_long_names_are_read_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    q, names = torch.randn(2, 2, 30, 4), [torch.randn(11, 8), torch.randn(3, 8)]
    whole = name_weights(q, names)
    monkeypatch.setattr(attention, "_ROWS_AT_ONCE", 2)
    torch.testing.assert_close(name_weights(q, names), whole)


def test_the_text_factor_has_the_mean_one() -> None:
    factor = text_factor(torch.randn(3, 20, 8) * 5, torch.randn(8))
    assert factor is not None
    torch.testing.assert_close(factor.mean(-1), torch.ones(3))


def sampled(model: DiffusersModel, references: References | None, seeds: tuple[int, ...] = (3,)) -> Tensor:
    scene = replace(compose(model, "a cat and a dog", layout=halves(32, 48)), references=references)
    return model.sample(scene, SamplingSettings(steps=2, guided_steps=1, seeds=seeds, height=32, width=48))


def test_scale_zero_gives_the_bits_of_the_plain_run(model: DiffusersModel) -> None:
    references = references_for(model, 2)
    plain = sampled(model, None)
    assert torch.equal(sampled(model, replace(references, scale=0.0)), plain)
    assert torch.equal(sampled(model, replace(references, strengths=(0.0, 0.0))), plain)


def test_a_picture_of_a_batch_equals_itself_alone_and_the_model_is_left_as_it_was(model: DiffusersModel) -> None:
    references, before = references_for(model, 2), [attn.processor for _, attn in cross_attention_layers(model.unet)]
    batch = sampled(model, references, (3, 4))
    torch.testing.assert_close(batch[1:], sampled(model, references, (4,)), atol=1e-3, rtol=0)
    assert float((batch[:1] - sampled(model, None)).abs().max()) > 1e-2
    assert [attn.processor for _, attn in cross_attention_layers(model.unet)] == before


def test_names_get_their_keys_once_per_run(model: DiffusersModel, monkeypatch: pytest.MonkeyPatch) -> None:
    references, calls = references_for(model, 2), []
    _, attn = next(iter(cross_attention_layers(model.unet)))
    hook = attn.to_k.register_forward_hook(lambda _, inputs, __: calls.append(inputs[0].shape))
    try:
        sampled(model, references)
    finally:
        hook.remove()
    assert [len(shape) for shape in calls].count(2) == 2  # one per name; the others are prompts
