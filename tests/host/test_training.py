"""Training inside the graph, on synthetic checkpoints with real photos."""

import math
from pathlib import Path

import pytest

from tests.host.client.checkpoints import Checkpoints
from tests.host.client.discovery import Host
from tests.host.client.worker import HostError, HostWorker
from tests.host.client.workspace import make_workspace

WIDTHS = {"sd15_short": 768, "sd21_v_short": 1024, "sdxl_short": 2048}
CASES = [("sd15_short", "direct"), ("sd15_short", "paper"), ("sd21_v_short", "direct"), ("sd21_v_short", "paper")]
FINISHED = ["csv", "safetensors"]


@pytest.mark.parametrize(("name", "method"), [*CASES, ("sdxl_short", "direct")])
def test_a_subject_is_learned_and_the_models_stay_as_they_were(in_host: HostWorker, name: str, method: str) -> None:
    found = in_host.training.trains(needs=(name,), name=name, method=method)
    assert found["changed"] == []
    assert found["shape"] == [1, WIDTHS[name]] and found["norm"] > 0
    assert len(found["losses"]) == 3 and all(map(math.isfinite, found["losses"]))
    assert found["curve"] == [1, 540, 960, 3]
    assert found["metadata"]["method"] == method and found["metadata"]["photos"] == "3"
    assert found["metadata"]["base_model"] == f"{name}.safetensors"
    assert len(found["metadata"]["encoder_anchor"].split()) == 16


@pytest.mark.parametrize("method", ["direct", "paper"])
def test_a_model_of_other_widths_is_trained_with_too(in_host: HostWorker, method: str) -> None:
    found = in_host.training.trains_demo_model(method=method)
    assert found["changed"] == [] and found["shape"] == [1, 128]
    assert found["resolution"] == "64"  # 0 was typed: its own
    assert all(map(math.isfinite, found["losses"]))
    assert found["applied"] == pytest.approx(found["norm"], rel=1e-3)


def test_scenes_are_learned_with_the_demo_model(in_host: HostWorker) -> None:
    found = in_host.training.trains_scenes()
    assert found["changed"] == [] and len(found["losses"]) == 3 and all(map(math.isfinite, found["losses"]))
    assert found["metadata"]["recipe"] == "scenes" and "attention_elsewhere_residual" in found["metadata"]
    assert found["cutouts"] == 3 and found["left"] == [".csv", ".safetensors"]


def test_an_interrupt_stops_the_class_pictures(in_host: HostWorker) -> None:
    found = in_host.training.interrupts_class_pictures()
    assert found == {"ended": "interrupted", "changed": [], "again": 3}


def test_gradient_checkpointing_recomputes_the_layout_term_too(in_host: HostWorker) -> None:
    plain, recomputed = (in_host.training.trains_scenes(checkpointing=on) for on in (False, True))
    assert recomputed["losses"] == pytest.approx(plain["losses"], rel=1e-4)
    assert recomputed["changed"] == plain["changed"] == []


def test_gradient_checkpointing_changes_nothing(in_host: HostWorker) -> None:
    plain, recomputed = (
        in_host.training.trains(needs=("sd15_short",), name="sd15_short", method="direct", checkpointing=on)
        for on in (False, True)
    )
    assert recomputed["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    assert recomputed["changed"] == []


@pytest.mark.parametrize("name", WIDTHS)
def test_training_sees_what_sampling_sees(in_host: HostWorker, name: str) -> None:
    found = in_host.training.prediction(needs=(name,), name=name)
    assert found["error"] < 1e-5
    assert found["type"] == ("v_prediction" if "_v" in name else "epsilon")
    assert found["grid"] == [8, 32 if name == "sdxl_short" else 16, WIDTHS[name]]


def test_pictures_after_training_have_the_same_bits(in_host: HostWorker) -> None:
    assert in_host.training.samples_alike(needs=("sd15_short",), name="sd15_short")


def test_a_residual_knows_its_text_encoder(in_host: HostWorker) -> None:
    names = ("sd15_short", "sd15")
    own, other = in_host.training.warns_of_other_encoder(needs=names, name=names[0], other=names[1])
    assert own == []
    assert "was trained with another text encoder" in other[0] and "sd15_short.safetensors" in other[0]


@pytest.mark.parametrize("method", ["direct", pytest.param("paper", marks=pytest.mark.slow)])
def test_an_interrupt_keeps_the_run_and_the_same_inputs_continue_it(in_host: HostWorker, method: str) -> None:
    found = in_host.training_runs.interrupted(needs=("sd15_short",), method=method)
    assert found == {
        "raised": True, "waiting": ["checkpoint.pt"], "steps": [3, 4], "same": True, "left": FINISHED, "changed": []
    }  # fmt: skip


def test_an_interrupt_that_was_taken_back_meanwhile_still_ends_the_run(in_host: HostWorker) -> None:
    found = in_host.training_runs.unflagged_interrupt(needs=("sd15_short",))
    assert found == {"ended": "interrupted", "waiting": ["checkpoint.pt"], "steps": [3, 4]}


@pytest.mark.parametrize("method", ["direct", pytest.param("paper", marks=pytest.mark.slow)])
def test_memory_that_ends_is_reported_and_the_run_goes_on_with_gradient_checkpointing(
    in_host: HostWorker, method: str
) -> None:
    found = in_host.training_runs.out_of_memory(needs=("sd15_short",), method=method)
    assert found["ended"].startswith("out of memory at step 3: turn on gradient_checkpointing")
    assert ("direct method" in found["ended"]) == (method == "paper")
    assert (found["waiting"], found["steps"]) == (["checkpoint.pt"], [3, 4])


def test_a_checkpoint_that_cannot_be_continued_is_dropped(in_host: HostWorker) -> None:
    found = in_host.training_runs.unusable_checkpoint(needs=("sd15_short",))
    anew = {"steps": [1, 2, 3, 4], "warned": 1, "left": FINISHED}
    assert found == {"other latents": anew, "damaged": anew}


def test_the_same_inputs_are_trained_once(in_host: HostWorker) -> None:
    found = in_host.training_runs.once(needs=("sd15_short",))
    trained = {"first", "other seed", "one photo less", "lora", "velocity", "text lora"}
    assert found["steps"] == {key: 3 if key in trained else 0 for key in found["steps"]}
    assert found["same"] and found["files"] == ["rex.safetensors"]


@pytest.mark.slow
def test_a_restarted_host_does_not_train_again(host: Host, checkpoints: Checkpoints, tmp_path: Path) -> None:
    base = make_workspace(tmp_path, checkpoints.folder)
    steps = []
    for _ in range(2):
        worker = HostWorker(host, base, checkpoints)
        try:
            steps.append(worker.training_runs.steps_of_one_run(needs=("sd15_short",)))
        finally:
            worker.close()
    assert steps == [3, 0]
    assert [path.name for path in (base / "models" / "residuals").iterdir()] == ["restarted.safetensors"]


def test_damaged_results_are_trained_again(in_host: HostWorker) -> None:
    assert in_host.training_runs.damaged(needs=("sd15_short",)) == [1, 1]


def test_a_residual_is_kept_when_its_run_cannot_be(in_host: HostWorker) -> None:
    found = in_host.training_runs.on_a_full_disk(needs=("sd15_short",))
    for part, waiting in (("history", ["safetensors"]), ("residual", [])):
        case = found[part]
        assert (case["residual"], case["losses"]) == (True, 1), part
        assert case["files"] == [f"full/{part}.safetensors"] and set(waiting) <= set(case["left"]), part
        assert len(case["warned"]) == 1 and "No space left on device" in case["warned"][0], part


def test_other_results_are_saved_under_free_names(in_host: HostWorker) -> None:
    assert in_host.training_runs.saved(needs=("sd15_short",)) == [
        "pets/rex.safetensors",
        "pets/rex_2.safetensors",
    ]


def test_lists_of_images_and_masks(in_host: HostWorker) -> None:
    found = in_host.training.lists_and_masks(needs=("sd15_short",))
    assert len(found["whole"]) == len(found["inside"]) == 3
    assert found["whole"] != found["inside"]


def test_previews_reach_the_progress_bar(in_host: HostWorker) -> None:
    shown, hidden = (in_host.training.previews(needs=("sd15_short",), every=every) for every in (2, 0))
    pictures = {step: preview for step, _, preview in shown if preview}
    assert sorted(pictures) == [1, 2, 3, 4]  # the loss so far
    assert pictures[1] == ["JPEG", 480, 270] and pictures[2] == pictures[4] == ["JPEG", 480, 270 + 480]  # and a sample
    assert hidden and not any(preview for _, _, preview in hidden)


@pytest.mark.parametrize(("method", "lora"), [("direct", False), ("direct", True), ("paper", True)])
def test_offloaded_weights_give_the_same_gradients(in_host: HostWorker, method: str, lora: bool) -> None:
    found = in_host.training.offloaded(needs=("sd15_short",), method=method, lora=lora)
    resident, offloaded = found["losses"]
    assert offloaded == pytest.approx(resident, rel=1e-4)
    assert found["cast"][0] == 0 and found["cast"][1] > 20
    assert found["changed"] == []


def test_patches_of_the_text_encoder_are_in_its_copy(in_host: HostWorker) -> None:
    found = in_host.training.tunable_text(needs=("sd15_short",))
    assert found["error"] < 1e-4 < 1e-2 < found["patch"]


@pytest.mark.slow
def test_number_formats(in_host: HostWorker) -> None:
    found = in_host.training.number_formats(needs=("sd15_short",))
    full = found.pop("float32")
    assert found.pop("float16 stored") == pytest.approx(full, rel=1e-4)  # the checkpoint's own format
    for losses in found.values():
        assert losses == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize("method", ["direct", "paper"])
def test_numbers_left_alone_are_the_methods_own(in_host: HostWorker, method: str) -> None:
    found = in_host.training.own_recipe(method=method)
    assert found["same"] and found["samples"][0] == found["samples"][1]


def test_wrong_inputs_are_named(in_host: HostWorker) -> None:
    found = in_host.training.refusals(needs=("sd15_short", "sd21_short"))
    assert "the subject phrase is empty" in found["subject"]
    assert found["rate"].startswith("a learning rate of 0.05 is for the direct method")
    assert found["masks"] == "2 masks for 1 images: give one for all or one for each"
    assert '"../outside" is not a name inside' in found["name"]
    assert "every mask is empty" in found["empty mask"]
    assert found["vae"].startswith("the vae input is empty")
    assert found["lcm"] == "this model's noise schedule is shortened (LCM): connect the model without it"
    assert found["x0"].startswith("this model predicts by ModelSamplingDiscrete, X0, not noise or velocity")
    assert found["edm"].startswith("this model predicts by ModelSamplingContinuousEDM, EDM, not noise or velocity")
    assert found["other clip"].startswith("MODEL and CLIP do not belong together: the model reads text of width 768")
    assert found["two encoders"].startswith("MODEL and CLIP do not belong together")
    assert found["inpainting"].startswith("this model takes 9 channels (an inpainting or depth model)")


@pytest.mark.parametrize("resolution", [8, 63])
def test_too_small_a_resolution_is_refused(in_host: HostWorker, resolution: int) -> None:
    with pytest.raises(HostError, match=f"ConfigError: the resolution is {resolution}: it must be at least 64, or 0"):
        in_host.training.trains_at(needs=("sd15_short",), name="sd15_short", resolution=resolution)


@pytest.mark.parametrize("source", ["one by one", pytest.param("folder", marks=pytest.mark.slow)])
def test_photos_may_come_one_by_one_or_from_a_folder(in_host: HostWorker, source: str) -> None:
    found = in_host.training.trains_from(needs=("sd15_short",), source=source)
    assert found == {"photos": "3", "runs": 1, "listed": True, "stamps": 3}  # the first training again


OUTSIDE = ["..", "../output", "/etc", "", ".", "cones2_link", "cones2_link/models", "gone", "a\0b", "x" * 9000]


@pytest.mark.parametrize("folder", OUTSIDE)
def test_a_folder_outside_the_input_folder_is_a_sentence(in_host: HostWorker, folder: str) -> None:
    said = in_host.training.folder_refused(folder=folder)
    assert said.startswith("there is no folder") and len(said) < 600


@pytest.mark.parametrize("folder", ["cones2_inside", "(none)", "cones2_inside/../cones2_inside"])
def test_a_folder_inside_the_input_folder_is_taken(in_host: HostWorker, folder: str) -> None:
    assert in_host.training.folder_refused(folder=folder) == ""
