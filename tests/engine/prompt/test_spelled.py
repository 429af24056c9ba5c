"""Words found in the text that tokens spell."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cones2.prompt.claims import locate_subjects, parse_phrase
from cones2.prompt.spelled import Spelling, spelled_phrase, spelled_tokens
from cones2.prompt.tokens import PromptTokens, Span, find_phrase, listed_words
from cones2.prompt.vocabularies import byte_level_text, sentence_piece_text


def prompt(*pieces: str | bytes | None, before: str = "", after: str = "") -> PromptTokens:
    """A prompt of tokens that spell these texts; None stands for a picture."""
    parts = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    spellings = [Spelling(index, part) for index, part in enumerate(parts)]
    return PromptTokens("", spelled_tokens(spellings, before.encode(), after.encode()), len(parts))


def found(stream: PromptTokens, phrase: str) -> list[Span]:
    return find_phrase(stream, phrase, spelled_phrase)


def test_a_word_is_found_with_and_without_a_space_before_it() -> None:
    stream = prompt("dog", " and", " a", " Dog", ",", " dogs")
    assert found(stream, "dog") == [(0,), (3,)]


def test_a_word_of_several_tokens_is_one_span() -> None:
    assert found(prompt(" a", " cor", "gi", " near", " cor", "n"), "corgi") == [(1, 2)]


def test_parts_of_words_are_not_the_word() -> None:
    assert found(prompt(" hot", "dog", " dog", "ma"), "dog") == []


@pytest.mark.parametrize("pieces", [(" Dog", "’s"), (' "', 'dog"'), (" dog-", "like"), ("(dog)",), ("🐶dog",)])
def test_punctuation_ends_words(pieces: tuple[str, ...]) -> None:
    assert len(found(prompt(*pieces), "dog")) == 1


def test_a_token_that_holds_more_than_the_word_belongs_to_it() -> None:
    assert found(prompt(" a", ' "m', 'ug"', " x"), "mug") == [(1, 2)]


def test_phrases_of_several_words_cross_any_spaces() -> None:
    assert found(prompt(" red", "\n", "  ", " mug"), "red mug") == [(0, 3)]
    assert found(prompt(" red", "mug"), "red mug") == []


def test_capitals_and_wide_letters_are_the_same() -> None:
    assert found(prompt(" ＤＯＧ", " DoG"), "dog") == [(0,), (1,)]


def test_scripts_without_spaces_have_words_of_single_characters() -> None:
    assert found(prompt("一", "只", "狗", "和猫"), "狗") == [(2,)]
    assert found(prompt("一只狗", "和猫"), "猫") == [(1,)]


def test_a_character_of_several_tokens_has_all_of_them() -> None:
    dog = "🐶".encode()
    assert found(prompt(" a ", dog[:2], dog[2:], " x"), "🐶") == [(1, 2)]


def test_the_template_is_not_searched() -> None:
    stream = prompt("<|sys|>", " color", "\n", " a", " color", "<|end|>", before="<|sys|> color\n", after="<|end|>")
    assert found(stream, "color") == [(4,)]
    assert listed_words(stream) == "a, color"


def test_without_the_template_everything_is_searched() -> None:
    assert found(prompt(" a", " color", before="<|sys|>"), "color") == [(1,)]


def test_a_picture_in_the_prompt_separates_words() -> None:
    assert found(prompt(" hot", None, "dog"), "dog") == [(2,)]
    assert found(prompt(" a", None, " dog"), "a dog") == []


def test_occurrences_are_numbered_as_in_any_prompt() -> None:
    stream = prompt(" dog", " and", " dog")
    claims = locate_subjects(stream, [parse_phrase("dog#2"), parse_phrase("dog")], spelled_phrase)
    assert [claim.spans for claim in claims] == [((2,),), ((0,),)]


@settings(max_examples=60)
@given(st.text(max_size=40), st.lists(st.integers(0, 60), max_size=6))
def test_any_text_cut_anywhere_keeps_its_bytes_in_order(text: str, cuts: list[int]) -> None:
    content = text.encode("utf-8", "replace")
    ends = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
    pieces = [content[start:stop] for start, stop in pairwise(ends)]
    indices = [token.index for token in prompt(*pieces).tokens]
    assert indices == sorted(indices)
    whole = prompt(content).tokens
    assert [token.piece for token in prompt(*pieces).tokens] == [token.piece for token in whole]


def test_bytes_that_are_no_text_are_not_lost() -> None:
    assert len(prompt(b"\xff\xfe", " dog").tokens) == 6


@pytest.mark.parametrize(
    ("spelling", "text"), [("Ġdog", b" dog"), ("Ċ", b"\n"), ("çĭĹ", "狗".encode()), ("<|im_start|>", b"<|im_start|>")]
)
def test_byte_level_tokens_say_their_bytes(spelling: str, text: bytes) -> None:
    assert byte_level_text(spelling) == text


@pytest.mark.parametrize(
    ("spelling", "text"), [("▁dog", b" dog"), ("gi", b"gi"), ("<0x0A>", b"\n"), ("狗", "狗".encode())]
)
def test_sentence_pieces_say_their_text(spelling: str, text: bytes) -> None:
    assert sentence_piece_text(spelling) == text
