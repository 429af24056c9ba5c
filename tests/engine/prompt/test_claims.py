"""Which tokens belong to which subject."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cones2.errors import PromptError
from cones2.prompt.claims import PhraseRef, locate_present, locate_subjects, parse_phrase
from cones2.prompt.tokens import (
    PromptTokens,
    Span,
    Token,
    bare_phrase,
    find_phrase,
)
from tests.support.small_tokenizer import stream, tokenize


def claims(text: str, *phrases: str, share: bool = False) -> list[tuple[Span, ...]]:
    return [claim.spans for claim in locate_subjects(stream(text), parsed(phrases), tokenize, share)]


def parsed(phrases: Iterable[str]) -> list[PhraseRef]:
    return [parse_phrase(phrase) for phrase in phrases]


def test_an_empty_prompt_has_no_words() -> None:
    with pytest.raises(PromptError, match=r'"dog" is not in the prompt; its words are: none'):
        claims("", "dog")


def test_all_occurrences_by_default() -> None:
    assert claims("dog cat dog pet dog", "dog", "cat") == [((1,), (3,), (5,)), ((2,),)]


@pytest.mark.parametrize("prompt", ["hotdog", "xydog", "dogs", "dogxy mug"])
def test_whole_words_only(prompt: str) -> None:
    with pytest.raises(PromptError, match=f"its words are: {prompt.split()[0]}"):
        claims(prompt, "dog")


def test_word_of_several_tokens_and_phrase_of_several_words() -> None:
    assert claims("cat hotdog mug", "hotdog") == [((2, 3),)]
    assert claims("pet cat hot dog", "pet  cat", "HOT\tdog") == [((1, 2),), ((3, 4),)]


@pytest.mark.parametrize(
    "phrase", ["dog,", "<dog>", '"dog"', "“dog”", " (dog). ", "[dog]", "#dog", "dog!#", "Dog", "*dog*"]
)
def test_edge_punctuation_and_case_are_ignored(phrase: str) -> None:
    (claim,) = locate_subjects(stream("cat, dog, mug"), parsed([phrase]), tokenize)
    assert (claim.phrase, claim.spans) == ("dog", ((3,),))


@pytest.mark.parametrize("phrase", ["", "  ", ",", "<>", "#", "#2", ' "" ', "\u200b"])
def test_empty_phrase(phrase: str) -> None:
    with pytest.raises(PromptError, match="is empty"):
        claims("2 dog", phrase)


def test_symbols_that_carry_meaning_stay() -> None:
    assert bare_phrase(" <🐶>, ") == "🐶"
    assert claims("cat 🐶 dog", "🐶") == [((2,),)]


def test_not_found_lists_words_without_punctuation_and_repeats() -> None:
    with pytest.raises(PromptError, match=r'^"mug" is not in the prompt; its words are: hot, dog, cat$'):
        claims("hot dog, cat, dog.", "mug")


def test_a_phrase_that_nobody_typed_says_where_it_comes_from() -> None:
    prompt, mug = stream("a dog"), parse_phrase("mug")
    with pytest.raises(
        PromptError, match=r'^the layout places "mug", which is not in the prompt; its words are: a, dog$'
    ):
        locate_subjects(prompt, [mug.come_from("layout")], tokenize)
    with pytest.raises(
        PromptError, match=r'^"mug", the name of the residual\'s file, is not in the prompt; .* say which'
    ):
        locate_subjects(prompt, [mug.come_from("file name")], tokenize)
    assert mug == mug.come_from("layout")


@pytest.mark.parametrize(
    ("phrase", "row"), [("dog#1", 1), ("dog#2", 3), ("dog #3", 5), ('"dog,#2"', 3), ("<dog>#2", 3)]
)
def test_selected_occurrence(phrase: str, row: int) -> None:
    assert claims("dog cat dog cat dog", phrase) == [((row,),)]


@pytest.mark.parametrize("number", ["0", "4", "x", "-1", "99999999999999999999"])
def test_selected_occurrence_that_does_not_exist(number: str) -> None:
    with pytest.raises(PromptError, match=r'"dog" occurs 3 times in the prompt.* 1 to 3'):
        claims("dog cat dog cat dog", f"dog#{number}")


def test_hash_in_the_prompt_is_text() -> None:
    assert claims("dog#2 cat", "dog") == [((1,),)]
    assert claims("dog#xy cat", "dog#xy") == [((1, 2, 3),)]


def test_longest_match_wins() -> None:
    assert claims("hot dog cat dog", "dog", "hot dog") == [((4,),), ((1, 2),)]
    assert claims("hot dog cat dog", "dog") == [((2,), (4,))]


def test_shorter_phrase_without_a_place_of_its_own() -> None:
    with pytest.raises(PromptError, match=r'"dog" has no place of its own in the prompt: "hot dog" has it'):
        claims("hot dog", "hot dog", "dog", share=True)


def test_overlap_of_equal_length_goes_to_the_earlier() -> None:
    with pytest.raises(PromptError, match=r'"dog house" has no place of its own.*"red dog" has it'):
        claims("red dog house", "dog house", "red dog")
    assert claims("red dog house, dog house", "dog house", "red dog") == [((5, 6),), ((1, 2),)]


def test_equal_phrases_claim_successive_places(caplog: pytest.LogCaptureFixture) -> None:
    """The published config writes "dog," and "dog" for two dogs."""
    text = "dog, pet cat hot dog"
    assert claims(text, "dog,", "pet cat", "dog") == [((1,),), ((3, 4),), ((6,),)]
    assert not caplog.records
    assert claims("dog dog dog", "dog", "Dog") == [((1,),), ((2,),)]
    assert "further places stay free" in caplog.text


def test_more_declarations_than_places(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PromptError, match='"dog" is declared 3 times but only twice free'):
        claims("dog cat dog", "dog", "dog", "dog")
    with caplog.at_level(logging.WARNING, "cones2"):
        assert claims("dog cat dog", "dog", "dog", "dog", share=True) == [((1,),), ((3,),), ((3,),)]
    assert "the last place is shared" in caplog.text


def test_numbered_phrases_are_served_first() -> None:
    assert claims("dog cat dog mug dog", "dog", "dog#1") == [((3,), (5,)), ((1,),)]
    assert claims("dog cat dog mug dog", "dog", "dog", "dog#2") == [((1,),), ((5,),), ((3,),)]
    assert claims("hot dog cat dog", "hot dog", "dog#2") == [((1, 2),), ((4,),)]


def test_numbered_phrase_against_others() -> None:
    with pytest.raises(PromptError, match=r'"hot dog" has no place of its own.*"dog#1" has it'):
        claims("hot dog cat dog", "hot dog", "dog#1")
    with pytest.raises(PromptError, match='"dog#1" is already taken by "hot dog#1"'):
        claims("hot dog cat dog", "hot dog#1", "dog#1", share=True)
    with pytest.raises(PromptError, match='"Dog#1" is already taken by "dog#1"'):
        claims("dog", "dog#1", "Dog#1")
    with pytest.raises(PromptError, match=r'"dog" has no place of its own.*"dog#1" has it'):
        claims("dog", "dog#1", "dog")


def test_layouts_may_share_a_numbered_place(caplog: pytest.LogCaptureFixture) -> None:
    assert claims("dog", "dog#1", "dog", "dog#1", share=True) == [((1,),)] * 3
    assert '"dog" shares its place with "dog#1"' in caplog.text


def test_phrase_across_two_chunks() -> None:
    text = "cat " * 74 + "hot dog mug"
    assert stream(text).length == 154
    assert claims(text, "hot dog", "mug") == [((75, 78),), ((79,),)]


def test_rows_may_have_gaps() -> None:
    """A host that moves a whole word into the next chunk leaves padding rows between."""
    hot, dog = tokenize("hot dog")
    prompt = PromptTokens("hot dog", (Token(60, hot), Token(78, dog)), 154)
    assert find_phrase(prompt, "hot dog", tokenize) == [(60, 78)]


_characters = "dogDG hotcatéß犬🐶\u0301\u200b\ufeff\0\n,.#<>()[]\"'_-|²٢12"
_texts = st.lists(st.sampled_from(["hot", "dog", "hotdog", "xydog", "cat", "pet", ",", "été", "2"]), max_size=90)
_phrases = st.lists(
    st.sampled_from(["dog", "Dog,", "hot dog", "hotdog", "pet cat", "cat", "dog#1", "dog#2", "hot", "dog hot"]),
    min_size=1,
    max_size=5,
)


@given(_texts, _phrases, st.booleans())
def test_claims_hold_their_own_phrase_and_never_collide(parts: list[str], phrases: list[str], share: bool) -> None:
    prompt = stream(" ".join(parts))
    piece_at = {token.index: token.piece for token in prompt.tokens}
    try:
        found = locate_subjects(prompt, parsed(phrases), tokenize, share)
    except PromptError as error:
        assert str(error)
        return
    owner: dict[int, str] = {}
    for claim in found:
        assert claim.spans == tuple(sorted(set(claim.spans)))
        for rows in claim.spans:
            assert [piece_at[row] for row in rows] == tokenize(claim.phrase)
            for row in rows:
                assert owner.setdefault(row, claim.phrase) == claim.phrase
    if not share:
        everything = [row for claim in found for rows in claim.spans for row in rows]
        assert len(everything) == len(set(everything))


@given(st.text(_characters, max_size=30), st.text(_characters, max_size=30))
def test_any_text_gives_a_claim_or_a_prompt_error(text: str, phrase: str) -> None:
    try:
        (claim,) = locate_subjects(stream(text), parsed([phrase]), tokenize)
    except PromptError:
        return
    assert claim.spans


def test_a_subject_that_this_prompt_lacks_has_no_claim() -> None:
    found = locate_present(stream("hot dog and a dog"), parsed(["mug", "dog", "hot dog", "dog#3", "dog#0"]), tokenize)
    assert [claim and claim.spans for claim in found] == [None, ((5,),), ((1, 2),), None, None]


@pytest.mark.parametrize("phrase", ["dog " * 100, "x" * 300_000])
def test_long_phrases_are_refused_in_one_sentence(phrase: str) -> None:
    with pytest.raises(PromptError, match="longer than 200 characters") as caught:
        parse_phrase(phrase)
    assert len(str(caught.value)) < 200


@given(st.text(_characters, max_size=40))
@example("1#1#")
def test_a_reference_reads_back_from_its_own_spelling(text: str) -> None:
    try:
        reference = parse_phrase(text)
    except PromptError:
        return
    assert parse_phrase(str(reference)) == reference
