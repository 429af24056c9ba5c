"""Layout guidance on diffusion transformers: the host's classes with random weights, its own tokenizers."""

from typing import Any

import pytest

from tests.host.client.worker import HostWorker

TOLERANCE = 1e-4
FAST = ("Qwen-Image", "Anima")  # one joint, one with cross-attention
ALL = ("Flux.1", "Flux.2", "Chroma", "Qwen-Image", "Z-Image", "Lumina 2", "SD3.5", "Krea 2", "Anima", "Cosmos", "Wan")
FAMILIES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ALL]
WITH_REFERENCES = ("Flux.1", "Flux.2", "Qwen-Image", "Krea 2")

OF_NODES = ("overrides", "compiled", "unrecognized", "recurrence", "subject_attention")


def drive(in_host: HostWorker, function: str, name: str, **arguments: Any) -> Any:
    driver = in_host.transformer_nodes if function in OF_NODES else in_host.transformer_guidance
    return getattr(driver, function)(name=name, **arguments)


def check_formula(found: dict[str, float]) -> None:
    """As the formula, and far from the plain model in comparison."""
    assert found["error"] < TOLERANCE and found["effect"] > 10 * found["error"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_steered_run_is_the_formula_with_masks_of_all_pairs(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "formula", name)
    check_formula(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_layout_that_does_not_guide_leaves_the_plain_model_bit_for_bit(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "formula", name)
    assert found["off"] == [True, True] and found["without_layout"] and found["afterwards"]


@pytest.mark.parametrize("name", FAMILIES)
def test_only_calls_of_the_picture_with_its_prompt_are_steered(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "attention", name)
    assert [found["hard"]["calls"], found["hard"]["steered"]] == found["expected"]
    assert found["plain"]["steered"] == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_subjects_are_read_in_their_regions_and_negatives_as_before(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "attention", name)
    (negative, positive), (_, soft), (before, plain) = (found[key]["left"] for key in ("hard", "soft", "plain"))
    assert positive[0] > 0.999 and positive[1] < 0.001
    assert soft[0] > plain[0] and soft[1] < plain[1]
    assert negative == pytest.approx(before, abs=1e-3)
    inside = found["hard"]["inside"][1], found["plain"]["inside"][1]
    assert all(steered > unsteered for steered, unsteered in zip(*inside, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("situation", ["batch", "combined", "negative_area"])
def test_every_picture_and_prompt_of_a_forward_pass_keeps_its_layout(
    in_host: HostWorker, situation: str, name: str
) -> None:
    assert drive(in_host, situation, name)["error"] < 4 * TOLERANCE


@pytest.mark.parametrize("name", FAMILIES)
def test_an_area_gets_its_part_of_the_layout_and_its_twin_none(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "area", name)
    assert found["error"] < TOLERANCE and found["twin"] < 4 * TOLERANCE


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("height", "width"), [(15, 21), (12, 40), pytest.param(72, 128, marks=pytest.mark.slow)])
def test_pictures_of_any_size_are_steered(in_host: HostWorker, name: str, height: int, width: int) -> None:
    found = drive(in_host, "sizes", name, height=height, width=width)
    check_formula(found)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in WITH_REFERENCES]
)
def test_reference_pictures_leave_the_layout_in_its_place(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "reference_latents", name)
    check_formula(found)


@pytest.mark.parametrize(
    ("name", "mug", "method", "guided_steps"),
    [
        ("Qwen-Image", "mug", "index", -1),
        ("Qwen-Image", "", "offset", 0),
        *(
            pytest.param(name, mug, method, steps, marks=pytest.mark.slow)
            for name in WITH_REFERENCES
            for mug, method, steps in (("", "index", -1), ("mug", "offset", -1), ("mug", "index", 0))
        ),
    ],
)
def test_reference_pictures_are_bound_to_their_regions(
    in_host: HostWorker, name: str, mug: str, method: str, guided_steps: int
) -> None:
    found = drive(in_host, "bound_references", name, mug=mug, method=method, guided_steps=guided_steps)
    check_formula(found)
    assert found["off"]


def test_the_models_own_attention_mask_stays_in_force(in_host: HostWorker) -> None:
    found = drive(in_host, "own_mask", "Qwen-Image")
    check_formula(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_overrides_of_other_nodes_stay_in_force_and_unfit_ones_are_bypassed(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "overrides", name)
    assert found["same"] == [True, True]
    assert found["calls"] == found["expected"]
    assert len(found["warnings"]) == 1 and found["kept"] == 0.0 and found["finite"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "Qwen-Image" else pytest.mark.slow) for name in ALL]
)
def test_a_compiled_model_gives_the_same_picture(in_host: HostWorker, name: str) -> None:
    assert drive(in_host, "compiled", name)["error"] < TOLERANCE


def test_a_run_in_which_nothing_could_be_steered_is_an_error(in_host: HostWorker) -> None:
    found = drive(in_host, "unrecognized", "Qwen-Image")
    assert "no attention call of this model" in found["message"]
    assert found["afterwards"] and not found["override"]


@pytest.mark.parametrize("name", [pytest.param("Flux.1", marks=pytest.mark.slow), "Qwen-Image"])
def test_recurrence_renoises_as_flow_matching_does(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "recurrence", name)
    assert found["starts"] == 1.0
    check_formula(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_subject_attention_sees_the_picture_read_its_prompt(in_host: HostWorker, name: str) -> None:
    found = drive(in_host, "subject_attention", name)
    assert found["plain"]["calls"] == found["guided"]["calls"] == found["expected"]
    assert found["guided"]["left"][0] > 0.999 and found["guided"]["left"][1] < 0.001
    assert 0.2 < found["plain"]["left"][0] < 0.8


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_attention_function_of_the_host_takes_the_features(in_host: HostWorker, dtype: str) -> None:
    found = in_host.transformer_nodes.backends(dtype=dtype)
    assert {"pytorch", "sub_quad", "split"} <= set(found)
    for guided, plain in found.values():
        assert guided < 2e-6 if dtype == "float32" else guided <= 1.1 * plain


REFUSED = {
    "frames": "ModelError: layouts steer single pictures, and this run makes 3 frames",
    "as many cells as tokens": "ModelError: a picture of 16 × 32 cells has as many of them",
    "references of Z-Image": "ModelError: Z-Image with reference pictures puts them before the prompt",
    "shortened": "ModelError: another node shortened this prompt to 6 tokens",
    "absent picture": "ModelError: the layout binds reference picture 3, but this run has 2: give an edit model",
    "picture 0": 'PromptError: "dog + picture 0" names picture 0',
    "model without pictures": "ModelError: the layout binds reference picture 1, but this run has 0",
    "PixArt": "ModelError: PixArt is not a class of models that a layout can steer: use a model of one of the families",
    "HunyuanDiT": "ModelError: HunyuanDiT is not a class of models",
    "ErnieImage": "ModelError: ErnieImage is not a class of models",
    "Flux": "ModelError: Flux is not a class of models",  # another network under its name
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_layout_can_steer_is_refused_in_a_sentence(in_host: HostWorker, what: str) -> None:
    assert in_host.transformer_nodes.refused(what=what).startswith(REFUSED[what])


def test_a_prompt_that_another_node_encoded_is_steered_with_its_clip_and_text(in_host: HostWorker) -> None:
    found = drive(in_host, "encoded_elsewhere", "Qwen-Image")
    check_formula(found)
    assert set(found["moved"]) == {19}
    assert "connect the CLIP and repeat the text at Apply Layout Guidance" in found["message"]


def test_a_context_window_shows_a_part_of_the_height_or_the_width_whatever_else_latents_have(
    in_host: HostWorker,
) -> None:
    assert in_host.transformer_guidance.window_axes() == {
        "0 of 4": None, "2 of 4": [0, 6], "3 of 4": [1, 8], "2 of 5": None, "3 of 5": [0, 6], "4 of 5": [1, 8],
    }  # fmt: skip
