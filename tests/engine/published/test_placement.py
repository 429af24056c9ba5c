"""Placing the subjects of a published config."""

from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import ConfigError
from cones2.prompt.claims import Claim, PhraseRef
from cones2.prompt.tokens import find_phrase
from cones2.published.placement import Placement, _covers, resolve_subjects
from tests.support.guidance_configs import load_one
from tests.support.small_tokenizer import stream, tokenize


def place(
    folder: Path, prompt: str, subjects: list[Any], colors: dict[str, Any] | None = None, strict: bool = False
) -> list[Placement]:
    names = {item if isinstance(item, str) else item[0] for item in subjects}
    config = load_one(
        folder,
        prompt=prompt,
        subject_list=subjects,
        residual_dict=dict.fromkeys(sorted(names), "residuals/dog.pt"),
        color_context=colors or {},
    )
    return resolve_subjects(config, stream(prompt), tokenize, strict)


def rows(placements: list[Placement]) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    return [(placement.reference.phrase, placement.claim.spans) for placement in placements]


def test_typed_positions_that_are_right(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    placed = place(folder, "a mug and a dog on the beach", [["mug", 2], ["dog", 5]])
    assert not caplog.records
    assert rows(placed) == [("mug", ((2,),)), ("dog", ((5 + 0,),))]
    assert placed[1] == Placement("dog", folder / "residuals/dog.pt", PhraseRef("dog", 1), Claim("dog", ((5,),)))


def test_positions_that_point_at_another_word(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One shipped config points two residuals, rows 4 and 8, at the word "a"."""
    subjects = [["<dog>", 2], ["<pet_cat>", 4], ["<dog6>", 8]]
    placed = place(folder, "A dog, a pet cat and a dog near a red house.", subjects)
    assert rows(placed) == [("dog", ((2,),)), ("pet cat", ((5, 6),)), ("dog", ((9,),))]
    assert 'position 4 of "<pet_cat>" is the word "a"; "pet cat" is used (token 5, 6)' in caplog.text
    assert 'position 8 of "<dog6>" is the word "a"; "dog" is used (token 9)' in caplog.text
    assert len(caplog.records) == 2


def test_right_position_beats_the_order_of_the_table(folder: Path) -> None:
    assert rows(place(folder, "dog and dog", [["<dog1>", 3], ["<dog2>", 1]])) == [("dog", ((3,),)), ("dog", ((1,),))]
    assert rows(place(folder, "dog and dog", ["<dog1>", ["<dog2>", 1]])) == [("dog", ((3,),)), ("dog", ((1,),))]


def test_position_inside_a_phrase_selects_it(folder: Path) -> None:
    assert rows(place(folder, "pet cat and pet cat", [["<pet_cat>", 5]])) == [("pet cat", ((4, 5),))]


def test_names_without_positions(folder: Path) -> None:
    assert rows(place(folder, "dog and dog", ["<dog6>"])) == [("dog", ((1,), (3,)))]
    assert rows(place(folder, "dog 2 and dog", ["dog2"])) == [("dog 2".replace(" ", ""), ((1, 2),))]
    assert rows(place(folder, "dog and dog", ["dog#2", "dog#1"])) == [("dog", ((3,),)), ("dog", ((1,),))]


def test_longer_color_phrases_keep_their_words(folder: Path) -> None:
    colors = {"red": "hot dog", "blue": "dog"}
    assert rows(place(folder, "hot dog and dog", ["<dog>"], colors)) == [("dog", ((4,),))]
    assert rows(place(folder, "hot dog and dog", [["<dog>", 2]], colors)) == [("dog", ((2,),))]
    assert rows(place(folder, "hot dog", ["<dog>"], colors)) == [("dog", ((2,),))]


def test_foreign_names_take_what_stands_at_their_position(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert rows(place(folder, "cat, a pet cat", [["sks", 5]], {"red": "cat", "blue": "pet cat"})) == [
        ("pet cat", ((4, 5),))
    ]
    assert '"sks" is not a phrase of the prompt, but its position 5 is; "pet cat" is used (token 4, 5)' in caplog.text
    assert rows(place(folder, "cat, a hotdog", [["sks", 5]])) == [("hotdog", ((4, 5),))]


@pytest.mark.parametrize("subject", ["sks", ["sks", 2], ["sks", 40], ["<7>", 2]])
def test_subject_without_any_phrase(folder: Path, subject: Any) -> None:
    with pytest.raises(ConfigError, match=r"entry 1: the prompt has no phrase for .*; its words are: cat, dog$"):
        place(folder, "cat, dog", [subject])


def test_conflicting_subjects_are_config_errors(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r'entry 1: "dog#1" is already taken by "dog#1"'):
        place(folder, "a dog", [["<dog>", 2], ["<dog6>", 2]])
    with pytest.raises(ConfigError, match=r'entry 1: "dog" is declared twice but only once free'):
        place(folder, "a dog", ["<dog>", "<dog6>"])


def test_strict_positions_keep_the_typed_rows(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    subjects = [["<dog>", 2], ["<pet_cat>", 4], ["<dog6>", 8], ["sks", 76]]
    placed = place(folder, "A dog, a pet cat and a dog near a red house.", subjects, strict=True)
    assert [rows for placement in placed for rows in placement.claim.spans] == [(2,), (4, 5), (8,), (76,)]
    assert not caplog.records
    with pytest.raises(ConfigError, match='position 77 of "<dog>" lies beyond the 77 tokens'):
        place(folder, "a dog", [["<dog>", 77]], strict=True)


def test_strict_without_a_position_uses_the_phrase(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert rows(place(folder, "a dog", ["dog"], strict=True)) == [("dog", ((2,),))]


def test_each_phrase_is_searched_in_the_prompt_once(folder: Path) -> None:
    """32 subjects that all occur thousands of times: the prompt is searched once for each phrase."""
    names = [f"<dog{index}>" for index in range(32)]
    config = load_one(
        folder,
        prompt="dog " * 2_400,
        subject_list=names,
        residual_dict=dict.fromkeys(names, "residuals/dog.pt"),
        color_context={f"{index},0,0": "dog" for index in range(32)},
    )
    texts: list[str] = []

    def counting(text: str) -> Any:
        texts.append(text)
        return tokenize(text)

    placed = resolve_subjects(config, stream(config.prompt), counting)
    assert len(placed) == 32 and len(texts) < 150


@given(st.lists(st.sampled_from(["hot", "dog", "mug"]), min_size=1, max_size=12), st.data())
def test_longer_phrases_are_found_as_by_looking_at_every_part(words: list[str], data: st.DataObject) -> None:
    """`_covers` against all parts of all spans."""
    prompt = stream(" ".join(words))
    phrases = [" ".join(data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=3))) for _ in range(2)]
    wide, narrow = (find_phrase(prompt, phrase, tokenize) for phrase in phrases)
    parts = {span[a:b] for span in wide for a in range(len(span)) for b in range(a + 1, len(span) + 1)}
    assert _covers(wide, set(narrow)) == bool((parts - set(wide)) & set(narrow))


def test_a_prompt_of_one_word_repeated_costs_little_memory(folder: Path) -> None:
    """The prompt and a color's phrase are the same word over and over: all their parts would fill the memory."""
    tracemalloc.start()
    try:
        place(folder, "dog " * 2400, ["dog"], {"255,0,0": ["dog " * 50, 2.5]})
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
