"""The Hugging Face CLIP tokenizer as prompt tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPTokenizer

from cones2.diffusers_models.text import ClipText, clip_tokenize, padded_ids, unpadded_ids
from cones2.errors import PromptError
from cones2.prompt.claims import PhraseRef, locate_subjects
from cones2.prompt.conditioning import PromptFormat
from cones2.prompt.tokens import PromptTokens, find_phrase, words
from tests.support.clip_vocabulary import write_clip_tokenizer

START, END = 49406, 49407


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_clip_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder, pad_token="!")


def prompt_tokens(tokenizer: CLIPTokenizer, prompt: str, chunks: int = 1) -> tuple[PromptTokens, Tensor]:
    tokens = ClipText([tokenizer], nn.ModuleList()).prompt_tokens(prompt, chunks)
    return tokens, padded_ids(tokenizer, tokens, tokens.length)


def test_pieces_without_specials(tokenizer: CLIPTokenizer) -> None:
    pieces = clip_tokenize(tokenizer)("A hotdog,  dog6 dogmug")
    assert [(piece.text, piece.ends_word) for piece in pieces] == [
        (b"a", True), (b"hotdog", True), (b",", True), (b"dog", True), (b"6", True), (b"dog", False), (b"mug", True),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a d\udcffog", "\ud83d"])
def test_half_of_a_surrogate_pair_is_no_text(tokenizer: CLIPTokenizer, text: str) -> None:
    with pytest.raises(PromptError, match="is not a whole text"):
        clip_tokenize(tokenizer)(text)
    for format in PromptFormat:
        with pytest.raises(PromptError, match="is not a whole text"):
            ClipText([tokenizer], nn.ModuleList()).formatted(["a dog", text], format)


def test_short_prompt_is_one_padded_chunk(tokenizer: CLIPTokenizer) -> None:
    tokens, ids = prompt_tokens(tokenizer, "a dog")
    assert ids.shape == (1, 77)
    assert ids[0].tolist() == [START, 320, 1929, END] + [0] * 73
    assert (tokens.length, [token.index for token in tokens.tokens]) == (77, [1, 2])
    assert prompt_tokens(tokenizer, "")[1][0].tolist() == [START, END] + [0] * 75


def test_long_prompt_keeps_every_token(tokenizer: CLIPTokenizer) -> None:
    tokens, ids = prompt_tokens(tokenizer, "cat " * 75 + "dog", chunks=1)
    assert (ids.shape, tokens.length) == ((2, 77), 154)
    assert ids[0, 76] == END
    assert ids[1, :3].tolist() == [START, 1929, END]
    assert [ids.flatten()[token.index].item() for token in tokens.tokens] == [token.piece.id for token in tokens.tokens]


def test_chunks_can_be_asked_for(tokenizer: CLIPTokenizer) -> None:
    tokens, ids = prompt_tokens(tokenizer, "a dog", chunks=3)
    assert (ids.shape, tokens.length) == ((3, 77), 231)
    assert ids[2].tolist() == [START, END] + [0] * 75


def test_exclamation_mark_is_a_word_even_as_padding_token(tokenizer: CLIPTokenizer) -> None:
    tokens, _ = prompt_tokens(tokenizer, "dog!cat")
    assert find_phrase(tokens, "cat", clip_tokenize(tokenizer)) == [(3,)]
    assert [word for word, _ in words(tokens)] == ["dog", "!", "cat"]


@pytest.mark.parametrize(
    ("prompt", "phrase", "rows"),
    [
        ("a hot dog and a DOG", "dog", [(3,), (6,)]),
        ("hotdogs, dogs and hotdog", "dog", []),
        ("un café et une naïve CAFÉ", "café", None),
        ("犬と猫、 犬", "猫", None),
        ("a sks chihuahua-puppy's bowl", "chihuahua-puppy's", None),
    ],
)
def test_phrases_by_the_live_tokenizer(
    tokenizer: CLIPTokenizer, prompt: str, phrase: str, rows: list[tuple[int, ...]] | None
) -> None:
    tokens, _ = prompt_tokens(tokenizer, prompt)
    if rows is not None:
        assert find_phrase(tokens, phrase, clip_tokenize(tokenizer)) == rows
    elif phrase == "猫":  # written without spaces: "犬と猫" is one word
        with pytest.raises(PromptError, match=r"its words are: 犬と猫, 犬$"):
            locate_subjects(tokens, [PhraseRef(phrase)], clip_tokenize(tokenizer))
    else:
        assert locate_subjects(tokens, [PhraseRef(phrase)], clip_tokenize(tokenizer))[0].spans


@given(st.lists(st.sampled_from(["dog", "café", "sunglasses", "犬", "🐶", ",", "don't", "x2"]), max_size=120))
def test_words_are_the_prompt_without_spaces(tokenizer: CLIPTokenizer, parts: list[str]) -> None:
    tokens, ids = prompt_tokens(tokenizer, " ".join(parts))
    assert "".join(word for word, _ in words(tokens)) == "".join(parts)
    assert ids.shape[0] * 77 == tokens.length


def test_published_prompt_is_cut_by_its_word_count(tokenizer: CLIPTokenizer) -> None:
    """Words + 2 rows: the two punctuation marks push "forest" and "." off."""
    ids = unpadded_ids(tokenizer, "A dog, a pet cat and a dog near a forest.")
    pieces = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert pieces == [
        "<|startoftext|>", "a</w>", "dog</w>", ",</w>", "a</w>", "pet</w>", "cat</w>", "and</w>",
        "a</w>", "dog</w>", "near</w>", "a</w>", "<|endoftext|>",
    ]  # fmt: skip
    assert unpadded_ids(tokenizer, "dog " * 100).shape == (1, 77)
