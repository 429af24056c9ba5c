"""The demo model in ComfyUI computes what diffusers computes, and works with stock nodes and the pack's own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cones2.sampling.schedule import scaled_linear_alphas
from tests.host.client.discovery import PACK
from tests.host.client.worker import HostError, HostWorker

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

MODEL = PACK / "cones2" / "assets" / "toyworld"
TOLERANCE = 1e-4
STEPS = (1, 400, 999)
PROMPTS = ("", "a photo of a mug and a house in the snow", "a zebra, Zürich & 大象 🐘!")


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Expected values are computed in float64: in float32, diffusers' decoder is off by up to 1e-4 itself."""
    assert found.shape == expected.shape
    error = float((found - expected).abs().max())
    print(f"largest difference {error:.1e}")
    return error <= TOLERANCE


@pytest.fixture(scope="module")
def case() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "latents": torch.randn(2, 4, 16, 24, generator=generator),
        "context": torch.randn(2, 77, 128, generator=generator),
        "picture": torch.rand(2, 64, 96, 3, generator=generator),
        "timesteps": torch.tensor(STEPS),
    }


@pytest.fixture(scope="module")
def facts(in_host: HostWorker, case: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the host says about the model, with what it computes for the case under "tensors"."""
    folder = tmp_path_factory.mktemp("demo")
    save_file(case, folder / "case.safetensors")
    found = in_host.demo_model.computed(folder=str(folder), prompts=list(PROMPTS))
    return {**found, "tensors": load_file(folder / "host.safetensors")}


def test_text_rows_are_those_of_transformers(facts: dict) -> None:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    encoder = transformers.CLIPTextModel.from_pretrained(MODEL / "text_encoder").double().eval()
    for number, text in enumerate(PROMPTS):
        ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = encoder(ids).last_hidden_state
        assert same(facts["tensors"][f"text{number}"], expected), text


def test_velocities_are_those_of_diffusers(facts: dict, case: dict[str, torch.Tensor]) -> None:
    unet = diffusers.UNet2DConditionModel.from_pretrained(MODEL / "unet").double().eval()
    for number, step in enumerate(STEPS):
        with torch.no_grad():
            expected = unet(case["latents"].double(), step, case["context"].double()).sample
        assert expected.abs().max() > 0.1
        assert same(facts["tensors"][f"velocity{number}"], expected), step


def test_latents_and_pictures_are_those_of_diffusers(facts: dict, case: dict[str, torch.Tensor]) -> None:
    vae = diffusers.AutoencoderKL.from_pretrained(MODEL / "vae").double().eval()
    scale = vae.config.scaling_factor
    with torch.no_grad():
        encoded = vae.encode(case["picture"].double().movedim(-1, 1) * 2 - 1).latent_dist.mode() * scale
        decoded = (vae.decode(case["latents"].double() / scale).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert same(facts["tensors"]["encoded"], encoded)
    assert same(facts["tensors"]["decoded"], decoded)


def test_noise_schedule_is_the_one_it_was_trained_with(facts: dict) -> None:
    assert facts["prediction"] == "V_PREDICTION"
    alphas = scaled_linear_alphas()
    expected = ((1 - alphas) / alphas).sqrt()
    assert torch.allclose(torch.tensor(facts["sigmas"], dtype=expected.dtype), expected, rtol=1e-4)


def test_weights_are_not_rounded(facts: dict) -> None:
    assert facts["dtypes"] == ["torch.float32"]


def test_unknown_words_are_spelled_out(in_host: HostWorker) -> None:
    long = " ".join(["a zebra and a mug"] * 20)
    plain, unknown, empty, longer = in_host.demo_model.encoded(
        texts=["a mug", "a zebra, 大象 🐘 and a (mug:1.3)", "", long]
    )
    assert [part["shape"] for part in (plain, unknown, empty)] == [[1, 77, 128]] * 3
    assert longer["shape"][1] > 77
    assert all(part["finite"] for part in (plain, unknown, empty, longer))
    words = dict(unknown["words"])
    assert {"a", "zebra", "大象", "🐘", "and", "mug"} <= set(words)
    assert len(words["zebra"]) > 1 == len(words["mug"])


def test_shipped_residuals_are_found_and_land_on_their_words(in_host: HostWorker) -> None:
    found = in_host.demo_model.shipped_residuals()
    shipped = {f"demo/{path.name}" for path in (MODEL / "residuals").iterdir()}
    assert len(shipped) >= 6 and shipped <= set(found["files"])
    assert found["without folder"] == "mug"  # as older workflows name it
    assert found["accepted"] == [True, True, False, False]
    assert found["rows"] == [5, 8]
    assert Path(found["first folder"]) == in_host.base / "models" / "residuals"


def test_a_residual_of_the_user_hides_a_shipped_one_of_that_name(in_host: HostWorker) -> None:
    assert in_host.demo_model.own_file_wins()


def test_residuals_of_other_models_are_refused(in_host: HostWorker) -> None:
    with pytest.raises(HostError, match=r"768 wide \(SD 1\.x\) but .* 128 wide \(the demo model\)"):
        in_host.demo_model.apply_foreign()


def test_the_packs_nodes_work_on_it(in_host: HostWorker) -> None:
    found = in_host.demo_model.own_nodes()
    assert found["latent"]["shape"] == [1, 4, 16, 16] and found["latent"]["finite"]
    assert found["effect"] > 1e-3
    assert found["formula"] < TOLERANCE
    assert found["heat maps"] == 2


def test_stock_nodes_work_on_it(in_host: HostWorker) -> None:
    """Empty Latent Image is told pixels: a host that knows the model's ratio gives it four per cell."""
    found = in_host.demo_model.stock_nodes()
    assert found["latent"] == found["again"] == [2, 4, 24, 16]
    assert found["pixels"] == [2, 96, 64, 3]
    assert found["tiled"] < TOLERANCE
    for patch in ("zero snr", "skip", "lora, model", "lora, clip"):
        assert found[patch] > 1e-3, patch
    assert found["merged"] < TOLERANCE  # of a model with itself
    stored = {
        "model": load_file(MODEL / "unet" / "diffusion_pytorch_model.safetensors"),
        "cond_stage_model": load_file(MODEL / "text_encoder" / "model.safetensors"),
        "first_stage_model": load_file(MODEL / "vae" / "diffusion_pytorch_model.safetensors"),
    }
    assert {part: found["saved"][part] for part in stored} == {part: len(weights) for part, weights in stored.items()}


@pytest.mark.parametrize(
    "hidden", ["unet/config.json", "tokenizer/merges.txt", "vae/diffusion_pytorch_model.safetensors"]
)
def test_an_absent_file_is_named(in_host: HostWorker, hidden: str) -> None:
    with pytest.raises(HostError, match=f"ModelError: the demo model in .* lacks {hidden}: install the pack anew"):
        in_host.demo_model.incomplete(hidden=hidden)
