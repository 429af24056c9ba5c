"""SDXL's second text encoder in checkpoint files, by OpenCLIP's names. Whole files are read in tests/host."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from cones2.diffusers_models.loading import load_model
from cones2.diffusers_models.single_file import _xl_text_encoder
from cones2.errors import ModelError
from tests.support.clip_vocabulary import write_clip_tokenizer

PREFIX = "conditioner.embedders.1.model."


def network() -> CLIPTextModelWithProjection:
    torch.manual_seed(0)
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=128,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            projection_dim=96,
            hidden_act="gelu",
            eos_token_id=49407,
        )
    ).eval()


def open_clip_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of transformers' class as OpenCLIP writes them."""
    plain = {key.removeprefix("text_model."): value for key, value in weights.items()}
    found = {
        "token_embedding.weight": plain["embeddings.token_embedding.weight"],
        "positional_embedding": plain["embeddings.position_embedding.weight"],
        "ln_final.weight": plain["final_layer_norm.weight"],
        "ln_final.bias": plain["final_layer_norm.bias"],
        "text_projection": plain["text_projection.weight"].T,
    }
    for layer in range(3):
        old, new = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for part in ("weight", "bias"):
            joined = [plain[f"{old}self_attn.{name}_proj.{part}"] for name in "qkv"]
            found[f"{new}attn.in_proj_{part}"] = torch.cat(joined)
            for theirs, ours in (
                ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
                ("attn.out_proj", "self_attn.out_proj"),
            ):  # fmt: skip
                found[f"{new}{theirs}.{part}"] = plain[f"{old}{ours}.{part}"]
    return {PREFIX + key: value.contiguous() for key, value in found.items()}


@torch.no_grad()
def test_open_clip_weights_give_the_same_text() -> None:
    original = network()
    read = _xl_text_encoder(open_clip_names(original.state_dict())).eval()
    ids = torch.tensor([[49406, 7, 8, 9, 49407, *[0] * 72]])
    ours, theirs = (model(ids, output_hidden_states=True) for model in (read, original))
    torch.testing.assert_close(ours.hidden_states[-2], theirs.hidden_states[-2])
    torch.testing.assert_close(ours[0], theirs[0])


def test_a_file_with_one_text_encoder_is_refused(tmp_path: Path) -> None:
    """The refiner has only the second."""
    state = open_clip_names(network().state_dict())
    state |= {"model.diffusion_model.label_emb.0.0.weight": torch.ones(1), "first_stage_model.x": torch.ones(1)}
    save_file(state, tmp_path / "refiner.safetensors")
    with pytest.raises(ModelError, match="is not an SDXL checkpoint with both text encoders: it has no text encoder"):
        load_model(tmp_path / "refiner.safetensors", write_clip_tokenizer(tmp_path / "tokenizer"))
