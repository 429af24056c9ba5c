"""`cones2 train` with the recipe scenes, on a folder model with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from cones2.cli import main
from cones2.cli.train import parse_options
from cones2.concepts.residual_file import load_residual
from cones2.diffusers_models.for_training import training_model
from cones2.diffusers_models.loading import load_model
from cones2.errors import ConfigError, ModelError
from cones2.guidance.cross_attention import LayoutBias
from cones2.guidance.terms import AttentionPass
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import Box, layout_from_boxes
from cones2.prompt.conditioning import Conditioning
from cones2.training.config import DEFAULT_RECIPE
from tests.support.sd2_model import write_sd2_model

LAYOUT = layout_from_boxes([Box(0.0, 0.0, 0.5, 1.0)], ["dog"], 8, 8, "fractions")
TERM = LayoutBias(weight_maps(LAYOUT, [[(5,)]]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd2_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos whose transparency says where the subject is."""
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        opacity = Image.new("L", (80, 80))
        ImageDraw.Draw(opacity).ellipse((20, 10, 60, 70), fill=255)
        photo = Image.fromarray(pixels)
        photo.putalpha(opacity)
        (tmp_path / "photos").mkdir(exist_ok=True)
        photo.save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path / "photos"


def train(folder: Path, photos: Path, out: Path, *flags: str) -> int:
    quick = "--resolution 64 --steps 3 --batch-size 2 --held-out 4 --evaluate-every 2 --scenes 4 --class-pictures 2"
    base = ["train", "--model", str(folder), "--images", str(photos), "--subject", "dog", "--out", str(out)]
    return main([*base, *quick.split(), *flags])


def test_scenes_leave_a_residual_with_its_cutouts(folder: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(folder, photos, out, "--recipe", "scenes", "--describe", "red dog", "--partners", "cat") == 0
    assert sorted(path.name for path in out.iterdir()) == ["dog.csv", "dog.safetensors", "dog_loss.png"]
    residual = load_residual(out / "dog.safetensors")
    assert residual.metadata["recipe"] == "scenes" and residual.metadata["description"] == "red dog"
    assert {"scenes_error_word", "attention_elsewhere_residual"} <= residual.metadata.keys()
    assert len(residual.cutouts) == 2


def test_an_interrupted_run_keeps_its_class_pictures_and_continues(folder: Path, photos: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(folder, photos, whole, "--recipe", "scenes") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cones2.training.loop.Trainer._any", lambda trainer, flag: trainer.step == 2)
        assert train(folder, photos, broken, "--recipe", "scenes") == 130
    assert len(list((broken / "dog_class_pictures").iterdir())) == 2
    assert train(folder, photos, broken, "--recipe", "scenes") == 0
    first, second = (load_residual(out / "dog.safetensors") for out in (whole, broken))
    assert torch.equal(first.tensor, second.tensor)
    assert not (broken / "dog_class_pictures").exists()


@pytest.mark.parametrize(
    ("flags", "recipe"),
    [
        ("", DEFAULT_RECIPE),
        ("--method direct", "photos"),
        ("--method paper", "paper"),
        ("--recipe scenes", "scenes"),
        ("--recipe scenes --method direct", "scenes"),
        ("--recipe paper", "paper"),
    ],
)
def test_which_recipe_the_flags_say(flags: str, recipe: str) -> None:
    base = ["--model", "m", "--images", "p", "--subject", "dog"]
    assert parse_options([*base, *flags.split()]).config.recipe == recipe


def test_flags_that_contradict_each_other_are_an_error() -> None:
    with pytest.raises(ConfigError, match="the recipe scenes learns by the method direct: leave --method paper out"):
        parse_options(["--model", "m", "--images", "p", "--subject", "dog", "--recipe", "scenes", "--method", "paper"])


def _output(folder: Path, checkpointing: bool, attention: AttentionPass | None) -> tuple[Tensor, Tensor]:
    """The UNet's output and its gradient for the conditioning."""
    model = load_model(folder, device="cpu")
    model.unet.train(checkpointing)  # diffusers recomputes in training mode only
    seen = training_model(model, "direct", checkpointing)
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(2, 77, seen.width, generator=generator).requires_grad_(True)
    noisy = torch.randn(2, 4, 8, 8, generator=generator)
    output = seen.predict(noisy, torch.tensor([900, 300]), Conditioning(embeds), None, attention)
    output.square().sum().backward()
    assert embeds.grad is not None
    return output.detach(), embeds.grad


def test_recomputed_activations_have_the_term_too(folder: Path) -> None:
    attention = AttentionPass((TERM,), torch.tensor([3.0, 0.5]))
    kept, again = (_output(folder, checkpointing, attention) for checkpointing in (False, True))
    assert torch.allclose(kept[0], again[0], atol=1e-6) and torch.allclose(kept[1], again[1], atol=1e-5)
    assert not torch.allclose(kept[1], _output(folder, False, None)[1], atol=1e-5)


def test_the_layers_are_taken_out_after_each_pass(folder: Path) -> None:
    model = load_model(folder, device="cpu")
    before = dict(model.unet.attn_processors)
    seen = training_model(model, "direct")
    seen.predict(
        torch.zeros(1, 4, 8, 8), torch.tensor([5]), seen.encode_text(["dog"]), None, AttentionPass((TERM,), 1.0)
    )
    assert model.unet.attn_processors == before


def test_a_pass_in_which_no_layer_takes_the_term_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = training_model(load_model(folder, device="cpu"), "direct")
    monkeypatch.setattr("cones2.diffusers_models.attention.GuidedAttnProcessor.__call__", _plain)
    with pytest.raises(ModelError, match="took the layout term"):
        seen.predict(
            torch.zeros(1, 4, 8, 8), torch.tensor([5]), seen.encode_text(["dog"]), None, AttentionPass((TERM,), 1.0)
        )


def _plain(_: object, attn: nn.Module, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
    return hidden_states
