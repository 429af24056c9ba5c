"""Tiny random CLIP and DINO models: the vectors are those of transformers' own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cones2.errors import ModelError
from cones2.evaluation.similarity import Clip, Dino, prepared
from tests.support.tiny_similarity import save_clip, save_dino

transformers = pytest.importorskip("transformers")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def picture(seed: int, width: int = 50, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = [picture(seed) for seed in range(18)]  # more than one batch


def test_clip_s_vectors_are_those_of_its_own_forward_pass(tmp_path: Path) -> None:
    clip, network = Clip(save_clip(tmp_path)), transformers.CLIPModel.from_pretrained(tmp_path).eval()
    texts = ["a photo of a mug", "a photo of a mug and a dog on the beach and a mug and a dog on the beach"]
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(texts, padding=True, truncation=True, max_length=12, return_tensors="pt")
    pixels = torch.stack([prepared(one, 32, 32, MEAN, STD) for one in PICTURES])
    with torch.no_grad():
        both = network(**ids, pixel_values=pixels)
    assert torch.allclose(clip.texts(texts), both.text_embeds, atol=1e-5)
    assert torch.allclose(clip.pictures(PICTURES), both.image_embeds, atol=1e-5)
    assert torch.allclose(clip.pictures(PICTURES).norm(dim=-1), torch.ones(18))


def test_dino_s_vectors_are_its_class_tokens(tmp_path: Path) -> None:
    dino, network = Dino(save_dino(tmp_path)), transformers.ViTModel.from_pretrained(tmp_path).eval()
    colors = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = torch.stack([prepared(one, 32, 28, *colors) for one in PICTURES])  # 256 : 224 = 32 : 28
    with torch.no_grad():
        token = network(pixel_values=pixels).last_hidden_state[:, 0]
    expected = token / token.norm(dim=-1, keepdim=True)
    assert torch.allclose(dino.pictures(iter(PICTURES)), expected, atol=1e-5)


def test_pictures_are_resized_by_their_shorter_side_and_cut_in_the_middle() -> None:
    wide = Image.new("RGB", (64, 32), "black")
    wide.paste("white", (16, 0, 48, 32))
    seen = prepared(wide, 32, 32, (0, 0, 0), (1, 1, 1))
    assert seen.shape == (3, 32, 32) and bool((seen == 1).all())
    assert torch.allclose(
        prepared(wide, 32, 32, (0.5, 0.5, 0.5), (0.25, 0.5, 1))[:, 0, 0], torch.tensor([2.0, 1.0, 0.5])
    )
    assert prepared(Image.new("RGB", (1, 300)), 32, 28, (0, 0, 0), (1, 1, 1)).shape == (3, 28, 28)


def test_clip_prepares_pictures_as_its_own_processor_does() -> None:
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    own = torch.as_tensor(np.asarray(processor(picture(3))["pixel_values"][0]))
    assert (prepared(picture(3), 32, 32, MEAN, STD) - own).abs().max() < 0.05  # of a spread of 1: rounding to 8 bits


def test_folders_that_hold_something_else_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder of a clip model at"):
        Clip(tmp_path / "none")
    with pytest.raises(ModelError, match=r"has no config\.json: a folder as transformers saves a vit model is needed"):
        Dino(tmp_path)
    save_dino(tmp_path / "dino")
    with pytest.raises(ModelError, match="holds a model of the kind vit, a clip model is needed"):
        Clip(tmp_path / "dino")
    weights = load_file(tmp_path / "dino" / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, tmp_path / "dino" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights of a vit model: layernorm\.weight"):
        Dino(tmp_path / "dino")
    (tmp_path / "dino" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded as a vit model"):
        Dino(tmp_path / "dino")
