"""Custom Diffusion on the real host: weights as patches, tokens as vectors in any prompt."""

import pytest

from tests.host.client.worker import HostWorker

SD1 = "sd15_short"


@pytest.mark.parametrize("name", [SD1])
def test_a_delta_is_the_file_s_weights_and_leaves_the_model_alone(in_host: HostWorker, name: str) -> None:
    found = in_host.deltas.applied(needs=(name,), name=name)
    assert found["error"] < 1e-4 and found["halves"] < 1e-4
    assert found["effect"] > 0.01
    assert found["zero"] and found["base"]
    assert found["tokens"] == "<new1> dog"


def test_a_token_is_a_vector_in_any_prompt(in_host: HostWorker) -> None:
    found = in_host.deltas.words(needs=(SD1,), name=SD1)
    assert found["as inversion"] and found["without"] and not found["unknown"]
    assert found["first kept"] and found["second"]
    assert found["tokens"] == "<new2> dog"


def test_a_token_and_its_class_word_are_a_phrase_that_layouts_steer(in_host: HostWorker) -> None:
    found = in_host.deltas.phrases(needs=(SD1,), name=SD1)
    assert found["words"][:3] == ["a", "<new1>", "dog"] and found["indices"][:3] == [1, 2, 3]
    assert found["effect"] > 1e-4


def test_deltas_merge_and_compress_in_the_graph(in_host: HostWorker) -> None:
    found = in_host.deltas.merged(needs=(SD1,), name=SD1)
    assert found["tokens"] == "<new1> dog\n<new2> mug"
    assert "constraint error" in found["report"]
    assert found["stored"] == "low rank" and found["again"] == found["of"]


@pytest.mark.slow
def test_a_merge_reads_the_deltas_own_words_on_a_clip_that_knows_others(in_host: HostWorker) -> None:
    assert in_host.deltas.merged_on_a_clip_that_knows(needs=(SD1,), name=SD1)


def test_a_delta_of_another_family_is_refused(in_host: HostWorker) -> None:
    message = in_host.deltas.refused(needs=(SD1, "sd21_short"), name=SD1, other="sd21_short")
    assert "1024" in message


@pytest.mark.parametrize("family", ["Flux.1", "Qwen-Image"])
def test_a_transformer_takes_no_delta(in_host: HostWorker, family: str) -> None:
    applied, merged, model = in_host.deltas.refused_by_transformers(needs=(SD1,), family=family)
    assert applied == merged and "Custom Diffusion is for the text encoders of SD 1.x, SD 2.x and SDXL" in applied
    assert model.endswith("Custom Diffusion needs an SD 1.x, SD 2.x or SDXL model")
