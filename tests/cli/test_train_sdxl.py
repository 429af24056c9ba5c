"""`cones2 train` on an SDXL folder with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from PIL import Image

from cones2.cli import main
from cones2.concepts.fingerprint import from_other_encoder
from cones2.concepts.residual_file import load_residual
from cones2.diffusers_models.for_training import training_model
from cones2.diffusers_models.loading import load_model
from cones2.errors import ModelError
from cones2.training.batches import encode_views
from cones2.training.views import Photo, ViewSettings, make_views
from tests.support.sdxl_model import WIDTHS, write_sdxl_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_sdxl_model(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def train(model, photos, out, *flags):
    quick = ["--resolution", "64", "--steps", "3", "--batch-size", "2", "--held-out", "0"]
    quick += [] if "--method" in flags or "--recipe" in flags else ["--recipe", "photos"]
    base = ["train", "--model", str(model), "--images", str(photos), "--subject", "dog", "--out", str(out)]
    return main([*base, *quick, *flags])


def test_scenes_are_learned_too(model, photos, tmp_path):
    flags = ("--recipe", "scenes", "--scenes", "2", "--class-pictures", "1", "--partners", "cat")
    assert train(model, photos, tmp_path, *flags) == 0
    assert load_residual(tmp_path / "dog.safetensors").metadata["recipe"] == "scenes"


@pytest.mark.parametrize("method", ["direct", "paper"])
def test_train_learns_both_encoders_columns(model, photos, tmp_path, method):
    assert train(model, photos, tmp_path, "--method", method) == 0
    residual = load_residual(tmp_path / "dog.safetensors")
    assert residual.tensor.shape == (1, sum(WIDTHS)) and residual.family == "sdxl"
    parts = residual.tensor.split(WIDTHS, -1)
    assert all(float(part.norm()) > 0 for part in parts)
    assert residual.metadata["base_model"] == model.name
    rows = training_model(load_model(model), "direct").encode_text(["a cat"]).embeds
    assert from_other_encoder(residual, rows) is False


def test_the_conditioning_is_that_of_diffusers(model):
    loaded = load_model(model)
    scheduler = DDIMScheduler.from_pretrained(model / "scheduler", local_files_only=True)
    pipeline = StableDiffusionXLPipeline(
        loaded.vae, *loaded.text.encoders, *loaded.text.tokenizers, loaded.unet, scheduler, add_watermarker=False
    )
    prompt = "a small dog on the beach"
    rows, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    with torch.no_grad():
        found = training_model(loaded, "direct").encode_text([prompt, "dog"])
    torch.testing.assert_close(found.embeds[:1], rows, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooled[:1], pooled, rtol=0, atol=1e-5)


def test_the_crop_and_the_pooled_text_reach_the_network(model):
    seen = training_model(load_model(model), "direct")
    latents, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
    with torch.no_grad():
        dog, cat = seen.encode_text(["dog"]), seen.encode_text(["cat"])
        sizes = torch.tensor([[80.0, 120, 0, 0, 64, 64]])
        plain = seen.predict(latents, times, dog, sizes)
        cropped = seen.predict(latents, times, dog, sizes + torch.tensor([0.0, 0, 0, 16, 0, 0]))
        pooled = seen.predict(latents, times, dog._replace(pooled=cat.pooled), sizes)
    assert not torch.equal(plain, cropped) and not torch.equal(plain, pooled)


def test_what_sdxl_cannot_do_is_said(model, photos, tmp_path, capsys):
    assert train(model, photos, tmp_path, "--preview-every", "1") != 0
    assert "SD 1.x and SD 2.x models only" in capsys.readouterr().err


def test_paper_tunes_only_what_the_rows_depend_on(model):
    """A weight without a gradient would stop `accelerate launch` at the second step."""
    loaded = load_model(model)
    every = dict(loaded.text.encoders.named_parameters())
    tuned = set(training_model(loaded, "paper").text_weights)
    left = set(every) - tuned
    assert (
        tuned and any("final_layer_norm" in name for name in left) and any("text_projection" in name for name in left)
    )
    assert not any("embedding" in name or "layers.0." in name for name in left)


def test_a_vae_that_overflows_is_named(model):
    loaded = load_model(model, dtype=torch.bfloat16)
    assert next(loaded.vae.parameters()).dtype == torch.float32
    with torch.no_grad():
        next(loaded.vae.encoder.parameters()).fill_(torch.nan)
    views = make_views([Photo("dog.png", Image.new("RGB", (64, 64)))], ViewSettings(64))
    with pytest.raises(ModelError, match=r"dog\.png"):
        encode_views(training_model(loaded, "direct"), views)
