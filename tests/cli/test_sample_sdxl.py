"""`cones2 sample` on an SDXL folder with random weights: the prompt's two encoders, layouts, subjects from pictures."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from PIL import Image, ImageDraw

from cones2.cli import main
from cones2.concepts.residual import make_residual
from cones2.concepts.residual_file import save_residual
from cones2.diffusers_models.loading import load_model
from cones2.sampling.settings import SamplingSettings
from cones2.scene import compose
from cones2.storage.png import read_settings
from tests.support.picture_adapters import adapter_weights, write_image_encoder
from tests.support.sdxl_model import WIDTHS, write_sdxl_model

pytestmark = pytest.mark.usefixtures("load_each_model_once")


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sdxl_model(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, xl: Path) -> Path:
    """An adapter, an image encoder, two pictures and a residual."""
    folder = tmp_path_factory.mktemp("files")
    widths = load_model(xl).cross_attention_widths
    for kind in ("mip", "plain"):
        torch.save(adapter_weights(widths, 2048, kind), folder / f"{kind}.bin")
    torch.save(adapter_weights(widths[1:], 2048), folder / "other.bin")
    write_image_encoder(folder / "encoder")
    for name, color in (("dog", "red"), ("mug", "blue"), ("mug2", "green")):
        picture = Image.new("RGBA", (50, 70))
        ImageDraw.Draw(picture).ellipse((5, 5, 45, 65), fill=color)
        picture.save(folder / f"{name}.png")
    residual = make_residual("dog", torch.randn(1, sum(WIDTHS), generator=torch.Generator().manual_seed(1)) * 5)
    save_residual(residual, folder / "dog.safetensors")
    return folder


def sample(xl: Path, out: Path, *flags: str) -> int:
    base = ["sample", "--model", str(xl), "--prompt", "a mug and a dog on the beach", "--out", str(out)]
    return main([*base, "--steps", "2", "--width", "96", "--height", "64", *flags])


def pixels(out: Path) -> np.ndarray:
    return np.asarray(Image.open(out / "picture_seed0.png")).astype(int)


def pictures(files: Path, adapter: str = "mip") -> list[str]:
    return [
        *(
            "--reference",
            f"dog={files / 'dog.png'}",
            "--reference",
            f"mug={files / 'mug.png'},{files / 'mug2.png'}@0.5",
        ),
        *("--adapter", str(files / f"{adapter}.bin"), "--image-encoder", str(files / "encoder")),
    ]


REGIONS = ("--region", "dog=0.5,0,0.5,1", "--region", "mug=0,0,0.5,1")


def test_latents_equal_those_of_diffusers(xl: Path) -> None:
    model = load_model(xl)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace",
        prediction_type=model.noise.prediction,
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        model.vae, *model.text.encoders, *model.text.tokenizers, model.unet, scheduler, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a dog", negative_prompt="blurry", num_inference_steps=3, guidance_scale=7.5, height=64, width=128,
        generator=torch.Generator().manual_seed(5), output_type="latent",
    ).images  # fmt: skip
    settings = SamplingSettings(steps=3, guided_steps=0, seeds=(5,), height=64, width=128)
    ours = model.sample(compose(model, "a dog", negative="blurry"), settings)
    torch.testing.assert_close(ours, expected, atol=2e-3 * float(expected.abs().max()), rtol=0)


def test_residuals_layout_and_repeated_steps_each_change_the_picture(xl: Path, files: Path, tmp_path: Path) -> None:
    runs = {
        "plain": (),
        "residual": ("--subject", f"dog={files / 'dog.safetensors'}"),
        "layout": (*REGIONS, "--no-recurrence"),
        "repeated": REGIONS,
    }
    found = {}
    for name, flags in runs.items():
        assert sample(xl, tmp_path / name, *flags) == 0
        found[name] = pixels(tmp_path / name)
    assert found["plain"].shape == (64, 96, 3)
    assert len({picture.tobytes() for picture in found.values()}) == len(runs)


def test_subjects_from_pictures_are_drawn_and_recorded(xl: Path, files: Path, tmp_path: Path) -> None:
    assert sample(xl, tmp_path / "plain") == 0
    assert sample(xl, tmp_path / "zero", *pictures(files), "--reference-scale", "0") == 0
    assert sample(xl, tmp_path / "drawn", *pictures(files)) == 0
    assert sample(xl, tmp_path / "placed", *pictures(files), *REGIONS, "--guidance-weight", "0") == 0
    np.testing.assert_array_equal(pixels(tmp_path / "plain"), pixels(tmp_path / "zero"))
    assert np.abs(pixels(tmp_path / "drawn") - pixels(tmp_path / "plain")).max() > 0
    assert np.abs(pixels(tmp_path / "placed") - pixels(tmp_path / "drawn")).max() > 0
    settings = read_settings(Image.open(tmp_path / "drawn" / "picture_seed0.png"))
    assert settings["references"][1] == ["mug", [str(files / "mug.png"), str(files / "mug2.png")], 0.5]
    assert "references" not in read_settings(Image.open(tmp_path / "plain" / "picture_seed0.png"))


def test_a_plain_adapter_is_said_to_have_no_text_factor(
    xl: Path, files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert sample(xl, tmp_path, *pictures(files, "plain")) == 0
    assert [message for message in caplog.messages if "plain IP-Adapter" in message]


def test_mistakes_are_named_before_anything_is_sampled(
    xl: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--adapter", str(files / "mip.bin"), "--image-encoder", str(files / "encoder")]
    dog, cases = str(files / "dog.png"), {}
    cases["--reference needs --adapter and --image-encoder too"] = ["--reference", f"dog={dog}"]
    cases["--adapter and --image-encoder needs --reference too"] = models
    cases["is not PHRASE=FILE"] = ["--reference", dog, *models]
    cases["has the strength 99: it must be a number from 0 to 10"] = ["--reference", f"dog={dog}@99", *models]
    cases["there is no cut-out at"] = ["--reference", "dog=nowhere.png", *models]
    cases['"cat" is not in the prompt'] = ["--reference", f"cat={dog}", *models]
    cases["two subjects (dog, mug) have the same picture"] = [
        *("--reference", f"dog={dog}", "--reference", f"mug={dog}", *models)
    ]
    cases["has 3 layers (another model) but the model has 4 cross-attentions"] = [
        *("--reference", f"dog={dog}", "--adapter", str(files / "other.bin"), *models[2:])
    ]
    cases["holds no image encoder"] = ["--reference", f"dog={dog}", *models[:3], str(files)]
    for sentence, flags in cases.items():
        assert sample(xl, tmp_path, *flags) != 0
        assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("picture_seed*"))
