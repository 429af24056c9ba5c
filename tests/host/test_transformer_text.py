"""Prompts of diffusion transformers, with the host's own tokenizers: which rows belong to which words."""

import pytest

from tests.host.client.worker import HostWorker

PROMPT = 'dog on a red mug, the Dog’s hotdog and a "mug" near a corgi dog.'
PHRASES = ["dog", "mug", "corgi"]
T5 = [[[0], [9], [26]], [[6], [18]], [[23, 24, 25]]]
QWEN_IMAGE = [[[0], [7], [22]], [[4], [14, 15]], [[19, 20, 21]]]
QWEN = [[[3], [10], [25]], [[7], [17, 18]], [[22, 23, 24]]]


def rows(in_host: HostWorker, name: str, prompt: str = PROMPT, phrases: list[str] = PHRASES) -> dict:
    return in_host.transformer_text.rows(name=name, prompt=prompt, phrases=phrases)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Flux.1", T5), ("Chroma", T5), ("Anima", T5), ("Cosmos", T5), ("Qwen-Image", QWEN_IMAGE), ("Krea 2", QWEN_IMAGE),
     ("Z-Image", QWEN), ("Klein", QWEN)],
)  # fmt: skip
def test_words_have_the_rows_that_the_model_reads(in_host: HostWorker, name: str, expected: list) -> None:
    assert rows(in_host, name)["rows"] == expected


@pytest.mark.parametrize("name", ["Flux.1", "Flux.2", "Chroma", "Qwen-Image", "Z-Image", "Lumina 2", "Krea 2", "Wan"])
def test_the_rows_of_a_word_are_those_that_its_tokens_were_encoded_to(in_host: HostWorker, name: str) -> None:
    found = rows(in_host, name)
    for phrase, spans in zip(PHRASES, found["says"], strict=True):
        said = ["".join(span).replace("Ġ", " ").replace("▁", " ").lower() for span in spans]
        assert said and all(phrase in text for text in said)


def test_sd3_has_every_word_in_both_of_its_parts(in_host: HostWorker) -> None:
    found = rows(in_host, "SD3.5")
    clip = in_host.transformer_text.clip_words(prompt=PROMPT, words=PHRASES)
    behind = [[[77 + token for token in span] for span in spans] for spans in T5]
    assert [spans[: len(spans) // 2] for spans in found["rows"]] == clip
    assert [spans[len(spans) // 2 :] for spans in found["rows"]] == behind


def test_sd3_without_some_of_its_encoders_has_the_others_rows(in_host: HostWorker) -> None:
    found = in_host.transformer_text.without_encoders()
    assert found == {"clips": [[[2]], 77], "t5": [[[2]], 77]}


@pytest.mark.parametrize("name", ["Qwen-Image", "Krea 2", "Z-Image", "Flux.2"])
def test_words_of_the_template_are_not_the_prompts(in_host: HostWorker, name: str) -> None:
    phrases = ["color", "background", "user", "assistant", "attribution"]
    assert rows(in_host, name, "a dog", phrases)["rows"] == [None] * 5
    assert rows(in_host, name, "a dog of one color", phrases)["rows"][0] is not None


@pytest.mark.parametrize("name", ["Flux.1", "Qwen-Image", "Z-Image"])
def test_numbers_emoji_and_quotes_are_understood(in_host: HostWorker, name: str) -> None:
    prompt = 'a Dog, "a dog" and a 🐶 in a sentence with 狗'
    first, second, emoji, han = rows(in_host, name, prompt, ["dog#1", "dog#2", "🐶", "狗"])["rows"]
    assert len(first) == len(second) == 1 and first[0][0] < second[0][0]
    if name != "Flux.1":  # T5 has one unknown token for both
        assert len(emoji) == len(han) == 1 and second[0][0] < emoji[0][0] < han[0][0]


def test_rows_are_counted_from_the_end_where_pictures_stand_before_the_prompt(in_host: HostWorker) -> None:
    found = in_host.transformer_text.edit_template()
    assert found["picture"] == [[token + 190 for token in span] for span in found["plain"]]
    assert found["plain"] == QWEN_IMAGE[0]


def test_the_prompts_own_tokens_leave_out_pads_and_template(in_host: HostWorker) -> None:
    assert rows(in_host, "Flux.1")["own"] == [0, 27, 28]
    assert rows(in_host, "Qwen-Image")["own"] == [0, 23, 24]
    assert rows(in_host, "Z-Image")["own"] == [3, 26, 24]


def test_scene_places_words_without_residuals(in_host: HostWorker) -> None:
    assert in_host.transformer_text.scene(name="Flux.1") == {"encoded": True, "subjects": ["dog"], "carried": True}


def test_mistakes_are_said_in_a_sentence(in_host: HostWorker) -> None:
    found = in_host.transformer_text.mistakes(name="Qwen-Image")
    assert found["absent"] == ""
    assert found["cat"].startswith('"dog" is not in the prompt; its words are: a, cat')
    assert "was made for the text encoder umt5xxl" in found["residual"]
    assert "encoded by qwen25_7b (Qwen-Image)" in found["residual"]


RESIDUALS = [
    ("Qwen-Image", "qwen25_7b", None), ("SD3.5", "t5xxl", 4096), ("SD3.5", "l:-2+g:-2", 2048),
    *(pytest.param(*case, None, marks=pytest.mark.slow) for case in (
        ("Flux.1", "t5xxl"), ("Flux.2", "mistral3_24b:-11x3"), ("Chroma", "t5xxl"), ("Lumina 2", "gemma2_2b:-2"),
        ("Krea 2", "qwen3vl_4b:-2x12"), ("Wan", "umt5xxl"), ("Cosmos", "t5xxl"), ("Z-Image", "qwen3_4b:-10x3"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "encoder", "width"), RESIDUALS)
def test_a_residual_changes_the_rows_of_its_words_and_no_others(
    in_host: HostWorker, name: str, encoder: str, width: int | None
) -> None:
    found = in_host.transformer_text.residuals(name=name, encoder=encoder, width=width)
    assert found["exact"] and found["scene"] and len(found["spans"]) == 2
    assert found["rows"] == sorted(row for span in found["spans"] for row in span)
    assert found["loaded"][0] == encoder
    if encoder == "t5xxl" and name == "SD3.5":
        assert min(found["rows"]) >= 77
