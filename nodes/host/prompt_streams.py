"""The tokens that ComfyUI's tokenizers make of a prompt, as streams in which the engine finds words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...cones2.errors import ModelError, PromptError
from ...cones2.families.family import ModelFamily, TextEncoder, family_of_encoders, known_families
from ...cones2.messages import listed, shown
from ...cones2.prompt.spelled import Spelling, spelled_phrase, spelled_tokens
from ...cones2.prompt.tokens import Piece, PromptTokens, Token, Tokenize
from ...cones2.prompt.vocabularies import byte_level_text, clip_piece, sentence_piece_text

if TYPE_CHECKING:
    from comfy.sd import CLIP
    from comfy.sd1_clip import SD1Tokenizer, SDTokenizer

Encoders = Mapping[str, Sequence[Sequence[Any]]]
"""Of each text encoder its chunks of (id, weight, word), as CLIP.tokenize gives them with word ids; word 0: none."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A prompt as one text encoder reads it.

    key: the encoder's among those of a CLIP.
    tokens: where its words are. A negative index counts from the end of the conditioning (see `anchored`).
    tokenize: phrase → pieces of such a stream.
    own: the indices of the prompt's tokens, without template and pads; CLIP's with its start and its end.
    """

    key: str
    tokens: PromptTokens
    tokenize: Tokenize
    own: tuple[int, ...]

    def anchored(self, rows: int) -> Stream:
        """The same with indices that count from the end of so many rows resolved; what was cut off is left out."""

        def place(index: int) -> int:
            return index if index >= 0 else index + rows

        tokens = tuple(replace(token, index=place(token.index)) for token in self.tokens.tokens)
        kept = tuple(token for token in tokens if token.index >= 0)
        own = tuple(place(index) for index in self.own if place(index) >= 0)
        return replace(self, tokens=replace(self.tokens, tokens=kept, length=rows), own=own)


@dataclass(frozen=True, eq=False)
class LiveTokenizer:
    """A CLIP's tokenizer as a function: phrase → pieces without start, end and pad tokens."""

    tokenizer: SD1Tokenizer

    def __call__(self, phrase: str) -> list[Piece]:
        encoders = self.tokenizer.tokenize_with_weights(phrase, return_word_ids=True, disable_weights=True)
        chunks = encoders[_leading(encoders)]
        pieces = [self._piece(id) for chunk in chunks for id, _, word in chunk if word]
        return [piece for piece in pieces if piece is not None]

    def _piece(self, id: int | Tensor) -> Piece | None:
        """As `piece`, also of a marked vector; None for another one."""
        return marked_piece(id) if torch.is_tensor(id) else self.piece(id)

    def piece(self, id: int) -> Piece:
        """The piece of a token id."""
        return clip_piece(id, self.tokenizer.untokenize([(id, 1.0)])[0][1])


def mark_word(vector: Tensor, word: str, id: int) -> None:
    """Let a vector in a prompt say that it is a word of one's own, with an id above those of the vocabulary."""
    vector.cones2_word = Piece(id, word.encode(), True)  # type: ignore[attr-defined]


def marked_piece(vector: Tensor) -> Piece | None:
    """The piece of a vector that `mark_word` has marked."""
    piece: Piece | None = getattr(vector, "cones2_word", None)
    return piece


def family_of(encoders: Encoders, tokenizer: SD1Tokenizer, columns: int | None = None) -> ModelFamily:
    """The family that text encoders belong to. Raises ModelError for a CLIP of another one.

    columns: of the conditioning, where it is known.
    """
    parts = {name: _tokenizer_of(tokenizer, name) for name in encoders}
    widths = {name: part.embedding_size for name, part in parts.items() if part is not None}
    family = family_of_encoders(widths, columns) if len(widths) == len(parts) else None
    if family is None:
        raise ModelError(
            f"this CLIP has the text encoders {listed(sorted(encoders))}: subjects need the CLIP of a model of one of "
            f"the families {known_families()}"
        )
    return family


def streams_of(clip: CLIP, text: str, encoders: Encoders, family: ModelFamily) -> tuple[Stream, ...]:
    """The streams of a prompt, one for each place where its words stand in what the model reads.

    Raises PromptError when the two encoders of SDXL have the prompt's words at different token indices.
    """
    streams: list[Stream] = []
    for encoder in family.named_encoders:
        if encoder.spelling == "clip" and any(_is_loaded(clip, key) for key in _alike(family)):
            streams.append(_clip_stream(text, encoders, encoder.key, family, clip.tokenizer))
        elif encoder.spelling != "clip" and _is_loaded(clip, encoder.key):
            streams.append(_spelled_stream(text, encoders[encoder.key], encoder, clip.tokenizer))
    return tuple(streams)


def _is_loaded(clip: CLIP, key: str) -> bool:
    """Whether a CLIP encodes with this encoder: SD 3.5 may run without some of its own, and then without their rows."""
    return next(_parts(clip.cond_stage_model, key), True) is not None


def _alike(family: ModelFamily) -> list[str]:
    """The CLIP encoders of a family, which have the same words at the same tokens."""
    return [part.key for part in family.encoders if part.rows == "beside" and part.spelling == "clip"]


def _clip_stream(text: str, encoders: Encoders, key: str, family: ModelFamily, tokenizer: SD1Tokenizer) -> Stream:
    tokenize = LiveTokenizer(tokenizer)
    alike = [key for key in encoders if key in _alike(family)]
    streams = [_real_tokens(encoders[key], tokenize, _width(tokenizer, key)) for key in alike]
    _check_same_indices(streams, text)
    length = sum(len(chunk) for chunk in encoders[_leading(encoders)])
    words = [token.index for token in streams[0]]
    own = tuple(range(min(max(words, default=0) + 2, length)))  # with the start token and the end token
    return Stream(key, PromptTokens(text, tuple(streams[0]), length), tokenize, own)


def _spelled_stream(
    text: str, chunks: Sequence[Sequence[Any]], encoder: TextEncoder, tokenizer: SD1Tokenizer
) -> Stream:
    """A stream of what the tokens spell. Encoders may cut off a template, so its indices count from the end; those of
    tokens that the model gives rows of their own are what they are."""
    part = cast("SDTokenizer", _tokenizer_of(tokenizer, encoder.key))
    tokens = [token for chunk in chunks for token in chunk]
    first = 0 if encoder.rows == "adapted" else -len(tokens)
    spellings = [
        Spelling(first + place, _text(id, part, encoder)) for place, (id, _, word) in enumerate(tokens) if word
    ]
    before, brace, after = getattr(tokenizer, "llama_template", "").partition("{}")
    around = (before.encode(), after.encode()) if brace else (b"", b"")
    stream = PromptTokens(text, spelled_tokens(spellings, *around), len(tokens))
    return Stream(encoder.key, stream, spelled_phrase, tuple(dict.fromkeys(token.index for token in stream.tokens)))


def _text(id: Any, part: SDTokenizer, encoder: TextEncoder) -> bytes | None:
    """What a token says; None for an embedding or a picture in its place."""
    if not isinstance(id, int):
        return None
    spelling = part.inv_vocab.get(id, "")
    return byte_level_text(spelling) if encoder.spelling == "bytes" else sentence_piece_text(spelling)


def _real_tokens(chunks: Sequence[Sequence[Any]], tokenize: LiveTokenizer, width: int) -> list[Token]:
    """The tokens of one encoder. The host drops an embedding of another width, so what follows moves up."""
    tokens: list[Token] = []
    start = 0
    for chunk in chunks:
        index = start
        for id, _, word in chunk:
            if torch.is_tensor(id):
                if id.shape[-1] != width:
                    continue
                piece = marked_piece(id)
                tokens.append(Token.embedding(index) if piece is None else Token(index, piece))
            elif word:
                tokens.append(Token(index, tokenize.piece(id)))
            index += 1
        start += len(chunk)
    return tokens


def _check_same_indices(streams: Sequence[Sequence[Token]], text: str) -> None:
    if any([token.index for token in stream] != [token.index for token in streams[0]] for stream in streams):
        raise PromptError(
            f'the embeddings in "{shown(text)}" fit only one of the two text encoders of SDXL: its words would be at '
            "different token indices"
        )


def _leading(encoders: Mapping[str, Any]) -> str:
    """The encoder whose tokens stand for all; their indices are the same."""
    return "l" if "l" in encoders else next(iter(encoders))


def _width(tokenizer: SD1Tokenizer, key: str) -> int:
    """Width of an encoder's token embeddings; the host drops embeddings of another width."""
    return cast(int, cast("SDTokenizer", _tokenizer_of(tokenizer, key)).embedding_size)


def _tokenizer_of(tokenizer: Any, key: str) -> SDTokenizer | None:
    """The tokenizer of one encoder among those of a CLIP; None for one of a kind that is not known."""
    return next((part for part in _parts(tokenizer, key) if hasattr(part, "embedding_size")), None)


def _parts(owner: Any, key: str) -> Iterator[Any]:
    return (getattr(owner, name) for name in (key, f"clip_{key}") if hasattr(owner, name))
