"""Training inside the graph, on synthetic checkpoints with real photos."""

import pytest
from hostlink.worker import HostWorker

WIDTHS = {"sd15_short": 768, "sd21_v_short": 1024, "sdxl_short": 2048}
CASES = [("sd15_short", "direct"), ("sd15_short", "paper"), ("sd21_v_short", "direct"), ("sd21_v_short", "paper")]


@pytest.mark.parametrize(("name", "method"), [*CASES, ("sdxl_short", "direct")])
def test_a_subject_is_learned_and_the_models_stay_as_they_were(in_host: HostWorker, name: str, method: str) -> None:
    found = in_host("nodes_training.py", "trains", needs=(name,), name=name, method=method)
    assert found["shape"] == [1, WIDTHS[name]]
    assert found["moved"] and found["finite"] and found["untouched"] and found["forwards"]
    assert found["gradients"] == []
    assert found["curve"] == [1, 540, 960, 3]
    assert found["metadata"] == method


def test_gradient_checkpointing_changes_nothing(in_host: HostWorker) -> None:
    plain, recomputed = (
        in_host(
            "nodes_training.py", "trains", needs=("sd15_short",), name="sd15_short", method="direct", checkpointing=on
        )
        for on in (False, True)
    )
    assert recomputed["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    assert recomputed["forwards"] and recomputed["untouched"]


@pytest.mark.parametrize("name", WIDTHS)
def test_training_sees_what_sampling_sees(in_host: HostWorker, name: str) -> None:
    found = in_host("nodes_training.py", "prediction", needs=(name,), name=name)
    assert found["error"] < 1e-5
    assert found["type"] == ("v_prediction" if "_v" in name else "epsilon")


def test_pictures_after_training_have_the_same_bits(in_host: HostWorker) -> None:
    assert in_host("nodes_training.py", "samples_alike", needs=("sd15_short",), name="sd15_short")


def test_an_interrupt_keeps_the_run_and_the_same_inputs_continue_it(in_host: HostWorker) -> None:
    found = in_host("nodes_training.py", "interrupted", needs=("sd15_short",))
    assert found == {"raised": True, "waiting": 1, "same": True, "left": 0}


def test_results_are_saved_under_free_names(in_host: HostWorker) -> None:
    assert in_host("nodes_training.py", "saved", needs=("sd15_short",)) == [
        "pets/rex.safetensors",
        "pets/rex_2.safetensors",
    ]


def test_lists_of_images_and_masks(in_host: HostWorker) -> None:
    found = in_host("nodes_training.py", "lists_and_masks", needs=("sd15_short",))
    assert len(found["whole"]) == len(found["inside"]) == 3
    assert found["whole"] != found["inside"]


def test_wrong_inputs_are_named(in_host: HostWorker) -> None:
    found = in_host("nodes_training.py", "refusals", needs=("sd15_short",))
    assert "the subject is empty" in found["subject"]
    assert found["rate"].startswith("a learning rate of 0.05 is for the direct method")
    assert found["masks"] == "2 masks for 1 images: give one for all or one for each"
    assert '"../outside" is not a name inside' in found["name"]
    assert "all their masks are empty" in found["empty mask"]
