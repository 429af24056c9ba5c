"""Residuals learned with diffusion transformers: the host's classes with random weights, its own tokenizers."""

import math

import pytest

from tests.host.client.worker import HostWorker

FAST = ("Qwen-Image",)
ALL = ("Flux.1", "Flux.2", "Chroma", "Qwen-Image", "Z-Image", "Lumina 2", "SD3.5", "Krea 2", "Wan")
FAMILIES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ALL]
PLANTED = [pytest.param(name, marks=pytest.mark.slow) for name in ("Qwen-Image", "Z-Image", "SD3.5", "Flux.1")]
"""For which a long run is made."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_residual_has_the_gradient_of_the_models_velocity(in_host: HostWorker, name: str) -> None:
    found = in_host.transformer_training.gradient(name=name)
    assert found["gradient"] == pytest.approx(found["quotient"], rel=0.05)
    if name == "Qwen-Image":
        assert len(set(found["lengths"])) == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_training_sees_what_sampling_sees(in_host: HostWorker, name: str) -> None:
    found = in_host.transformer_training.prediction(name=name)
    assert found["error"] < 1e-5
    assert found["grid"] == [8, 8 if name == "Flux.2" else 16]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_residual_is_found_again(in_host: HostWorker, name: str) -> None:
    found = in_host.transformer_training.planted(name=name, steps=120)
    assert found["last"] < 0.1 * found["first"]
    assert found["cosine"] > 0.3
    assert not found["training"]


def test_a_short_run_goes_towards_a_planted_residual(in_host: HostWorker) -> None:
    found = in_host.transformer_training.planted(name="Qwen-Image", steps=20)
    assert found["last"] < 0.5 * found["first"] and found["cosine"] > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_subject_is_learned_and_the_model_stays_as_it_was(in_host: HostWorker, name: str) -> None:
    found = in_host.transformer_training.trains(name=name)
    assert found["changed"] == [] and found["curve"] == [1, 540, 960, 3]
    assert len(found["losses"]) == 3 and all(map(math.isfinite, found["losses"]))
    assert found["norm"] > 0 or name in ("Flux.2", "Krea 2")  # whose random weights are best left alone
    assert found["moved"] == pytest.approx(found["norm"], rel=1e-3)
    assert found["metadata"]["encoder"] == found["encoders"][-1]
    assert "encoder_anchor" not in found["metadata"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in ALL])
def test_gradient_checkpointing_changes_nothing(in_host: HostWorker, name: str) -> None:
    plain, again = (in_host.transformer_training.gradient(name=name, checkpointing=on) for on in (False, True))
    assert again["gradient"] == pytest.approx(plain["gradient"], rel=1e-4)


REFUSED = {
    "paper": "ModelError: the paper method tunes the text encoder, which is there for SD 1.x, SD 2.x and SDXL alone",
    "scenes": "ModelError: the recipe scenes trains under the layout term",
    "Anima": "ModelError: residuals cannot be learned with Anima: its attention has no gradient in ComfyUI",
    "Cosmos": "ModelError: residuals cannot be learned with CosmosPredict2",
    "other clip": "ModelError: MODEL and CLIP do not belong together: the model is QwenImage, the CLIP is of Flux.1",
    "other layers": "ModelError: MODEL and CLIP do not belong together: the model is Flux2, the CLIP is of Z-Image "
    "(the model reads 120 columns, the CLIP gives 2560)",
    "other family": "ModelError: MODEL and CLIP do not belong together: the model is Krea2, the CLIP is of Z-Image",
    "without T5": "ModelError: residuals of SD 3.5 are learned for t5xxl, which this CLIP lacks",
}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.slow if what in ("Anima", "without T5") else ()) for what in REFUSED]
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(in_host: HostWorker, what: str) -> None:
    assert in_host.transformer_training.refused(what=what).startswith(REFUSED[what])
