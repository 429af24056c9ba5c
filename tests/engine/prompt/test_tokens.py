"""Prompts as tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cones2.prompt.tokens import (
    Piece,
    PromptTokens,
    Token,
    chunked_indices,
    chunked_tokens,
    find_phrase,
    words,
)
from cones2.prompt.vocabularies import clip_piece
from tests.support.small_tokenizer import stream, tokenize

_texts = st.lists(st.sampled_from(["hot", "dog", "hotdog", "xydog", "cat", "pet", ",", "été", "2"]), max_size=90)


def parts_as_words(parts: list[str]) -> list[str]:
    return [part for part in parts if part]


def test_rows_count_the_start_token_and_skip_chunk_ends() -> None:
    assert chunked_indices(3) == [1, 2, 3]
    assert chunked_indices(152)[74:77] == [75, 78, 79]
    assert chunked_indices(152)[149:] == [152, 155, 156]


def test_empty_prompt_still_has_one_chunk() -> None:
    assert stream("").length == 77


def test_embedding_vectors_end_words() -> None:
    dog, xy, _ = tokenize("dog xydog")
    tokens = (Token.embedding(1), Token(2, dog), Token(3, xy), Token.embedding(4), Token(5, dog))
    prompt = PromptTokens("embedding:a dog xy embedding:a dog", tokens, 77)
    assert find_phrase(prompt, "dog", tokenize) == [(2,), (5,)]
    assert words(prompt) == [("", (1,)), ("dog", (2,)), ("xy", (3,)), ("", (4,)), ("dog", (5,))]


def test_words_are_rebuilt_from_byte_level_pieces() -> None:
    spellings = ["ca", "fÃ©</w>", "çĬ", "¬</w>", "<|犬|></w>"]
    prompt = chunked_tokens("café 犬", [clip_piece(id, spelling) for id, spelling in enumerate(spellings, 1)])
    assert words(prompt) == [("café", (1, 2)), ("犬", (3, 4)), ("<|犬|>", (5,))]  # the last is an added token


def test_half_a_character_is_replaced_in_what_people_read() -> None:
    assert words(chunked_tokens("犬", [Piece(1, b"\xe7\x8a", True)])) == [("\ufffd", (1,))]


@given(_texts)
def test_words_cover_every_row_once(parts: list[str]) -> None:
    prompt = stream(" ".join(parts))
    assert [word for word, _ in words(prompt)] == parts_as_words(parts)
    assert [row for _, rows in words(prompt) for row in rows] == [token.index for token in prompt.tokens]
