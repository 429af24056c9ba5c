"""Names of cross-attention weights in the ways that files write them."""

from __future__ import annotations

import pytest

from cones2.custom_diffusion.layers import (
    compvis_name,
    layers_per_block_of,
    lora_name,
    part_of,
    plain_name,
    processor_name,
)

PLACES = [
    *(f"down_blocks.{block}.attentions.{layer}" for block in range(3) for layer in range(4)),
    "mid_block.attentions.0",
    *(f"up_blocks.{block}.attentions.{layer}" for block in range(3) for layer in range(5)),
]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_names_come_back_from_compvis(layers: int) -> None:
    for place in PLACES:
        if int(place.rpartition(".")[2]) >= layers + place.startswith("up"):
            continue
        name = f"{place}.transformer_blocks.1.attn2.to_k.weight"
        assert plain_name(compvis_name(name, layers), layers) == name


@pytest.mark.parametrize("part", ["to_q", "to_k", "to_v", "to_out.0"])
def test_names_come_back_from_attention_processors(part: str) -> None:
    name = f"mid_block.attentions.0.transformer_blocks.0.attn2.{part}.weight"
    assert plain_name(processor_name(name)) == name and part_of(name) == part


def test_published_names_of_compvis() -> None:
    tail = "transformer_blocks.0.attn2.to_v.weight"
    assert compvis_name(f"up_blocks.3.attentions.2.{tail}") == f"model.diffusion_model.output_blocks.11.1.{tail}"
    assert compvis_name(f"down_blocks.2.attentions.1.{tail}") == f"model.diffusion_model.input_blocks.8.1.{tail}"


def test_a_lora_s_name_is_that_of_the_layer() -> None:
    name = lora_name("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight")
    assert name == "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0"


@pytest.mark.parametrize(("numbers", "layers"), [((1, 2, 4, 5, 7, 8), 2), ((1, 3), 1), ((1, 2, 3), 3), ((), 2)])
def test_layers_per_block_show_in_the_numbers(numbers: tuple[int, ...], layers: int) -> None:
    keys = [f"input_blocks.{number}.1.transformer_blocks.0.attn2.to_k.weight" for number in numbers]
    assert layers_per_block_of(keys) == layers


@pytest.mark.parametrize(
    "key",
    [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight",
        "input_blocks.0.1.transformer_blocks.0.attn2.to_k.weight",
        "mid_block.attentions.1.transformer_blocks.0.attn2.to_k.weight",
        "to_k",
        "x" * 999,
    ],
)
def test_other_names_are_none(key: str) -> None:
    assert plain_name(key) is None
