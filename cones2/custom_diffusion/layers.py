"""The names of cross-attention weights in the three ways that files write them."""

from __future__ import annotations

import re
from collections.abc import Iterable

PARTS = ("to_q", "to_k", "to_v", "to_out.0")
KEYS_AND_VALUES = ("to_k", "to_v")

_PART = r"(to_q|to_k|to_v|to_out\.0)"
_BLOCK = r"((?:(?:down|up)_blocks\.\d+\.attentions\.\d+|mid_block\.attentions\.0)\.transformer_blocks\.\d+\.attn2)"
_DIFFUSERS = re.compile(rf"(?:^|\.){_BLOCK}\.{_PART}\.(weight|bias)$")
_PROCESSOR = re.compile(
    rf"(?:^|\.){_BLOCK}\.processor\.(to_q|to_k|to_v|to_out)_custom_diffusion(?:\.0)?\.(weight|bias)$"
)
_COMPVIS = re.compile(
    r"(?:^|\.)(?:(input|output)_blocks\.(\d+)\.1|middle_block\.1)"
    rf"\.transformer_blocks\.(\d+)\.attn2\.{_PART}\.(weight|bias)$"
)
_MODEL = "model.diffusion_model."
_COUNTS = (2, 1, 3, 4)  # layers per block: published models have 2
_LONGEST = 300  # characters of a name that is looked at


def plain_name(key: str, layers_per_block: int = 2) -> str | None:
    """The diffusers name of a weight, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight".

    key: as diffusers, its attention processors or CompVis write it, with anything in front of it.
    layers_per_block: of the UNet, which CompVis' block numbers count. None for any other weight.
    """
    if len(key) > _LONGEST:
        return None
    if match := _DIFFUSERS.search(key):
        return ".".join(match.groups())
    if match := _PROCESSOR.search(key):
        block, part, kind = match.groups()
        return f"{block}.{'to_out.0' if part == 'to_out' else part}.{kind}"
    if match := _COMPVIS.search(key):
        side, number, inner, part, kind = match.groups()
        block = "mid_block.attentions.0" if side is None else _attention(side, int(number), layers_per_block)
        if block is None:
            return None
        return f"{block}.transformer_blocks.{inner}.attn2.{part}.{kind}"
    return None


def layers_per_block_of(keys: Iterable[str]) -> int:
    """How many layers a block has in CompVis' numbers: as many as leave the places of resampling without attention."""
    matches = [match for key in keys if len(key) <= _LONGEST and (match := _COMPVIS.search(key))]
    numbers = {int(match[2]) for match in matches if match[1] == "input"}
    return next((count for count in _COUNTS if all((number - 1) % (count + 1) < count for number in numbers)), 2)


def compvis_name(name: str, layers_per_block: int = 2) -> str:
    """A diffusers name as CompVis writes it: "model.diffusion_model.input_blocks.1.1.transformer_blocks…"."""
    words = name.split(".")
    if words[0] == "mid_block":
        return f"{_MODEL}middle_block.1.{'.'.join(words[3:])}"
    block, attention = int(words[1]), int(words[3])
    index = (layers_per_block + 1) * block + attention
    side, index = ("input", index + 1) if words[0] == "down_blocks" else ("output", index)
    return f"{_MODEL}{side}_blocks.{index}.1.{'.'.join(words[4:])}"


def processor_name(name: str) -> str:
    """A diffusers name as the example of diffusers writes it: "….attn2.processor.to_k_custom_diffusion.weight"."""
    layer, part, kind = layer_of(name), part_of(name), name.rpartition(".")[2]
    return f"{layer}.processor.{part.removesuffix('.0')}_custom_diffusion{'.0' * part.endswith('.0')}.{kind}"


def lora_name(name: str) -> str:
    """What a LoRA file calls the layer of a diffusers name: "lora_unet_down_blocks_0_…_attn2_to_k"."""
    return "lora_unet_" + name.rpartition(".")[0].replace(".", "_")


def layer_of(name: str) -> str:
    """The attention layer of a diffusers name: "down_blocks.0.attentions.0.transformer_blocks.0.attn2"."""
    return name[: name.index(".attn2") + len(".attn2")]


def part_of(name: str) -> str:
    """One of `PARTS`: which projection of its layer a diffusers name is."""
    return name[len(layer_of(name)) + 1 :].rpartition(".")[0]


def is_key_or_value(name: str) -> bool:
    """Whether it is a matrix that reads the text: the keys' or the values'."""
    return part_of(name) in KEYS_AND_VALUES and name.endswith(".weight")


def _attention(side: str, number: int, layers_per_block: int) -> str | None:
    """None for a number that no block with attention has: the input convolution's."""
    if side == "input":
        if not number:
            return None
        block, attention = divmod(number - 1, layers_per_block + 1)
        return f"down_blocks.{block}.attentions.{attention}"
    block, attention = divmod(number, layers_per_block + 1)
    return f"up_blocks.{block}.attentions.{attention}"
