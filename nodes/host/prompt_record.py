"""What a conditioning remembers about its prompt, and the host's tokenizers as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...cones2.concepts.residual import PlacedResidual
from ...cones2.errors import ModelError, PromptError
from ...cones2.families.family import ModelFamily, family_of_encoders
from ...cones2.messages import shown
from ...cones2.prompt.claims import PhraseRef, locate_present, locate_subjects
from ...cones2.prompt.tokens import Piece, PromptTokens, Token
from ...cones2.prompt.vocabularies import clip_piece

if TYPE_CHECKING:
    from comfy.sd import CLIP
    from comfy.sd1_clip import SD1Tokenizer

PROMPT_KEY = "cones2_prompt"
"""Key of a conditioning's dict that holds its PromptRecord."""


@dataclass(frozen=True, eq=False)
class PromptRecord:
    """The prompt of one conditioning.

    tokens: its tokens and how many the conditioning has.
    tokenize: the tokenizer it was encoded with.
    family: of the model that its text encoders belong to.
    layer: text-encoder layer the conditioning comes from; -1 is the last.
    placed: the residuals that were added to it, at their tokens.
    clean: the conditioning [..., L, d] before the first of them; None while there are none.
    """

    tokens: PromptTokens
    tokenize: LiveTokenizer
    family: ModelFamily
    layer: int
    placed: tuple[PlacedResidual, ...] = ()
    clean: Tensor | None = None

    def with_placed(self, placed: Sequence[PlacedResidual], clean: Tensor) -> PromptRecord:
        """The record after residuals were added to `clean`."""
        return replace(self, placed=tuple(placed), clean=clean)


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

    def width(self, encoder: str) -> int:
        """Width of an encoder's token embeddings; the host drops embeddings of another width."""
        return cast(int, getattr(self.tokenizer, f"clip_{encoder}").embedding_size)


def mark_word(vector: Tensor, word: str, id: int) -> None:
    """Let a vector in a prompt say that it is a word of one's own, with an id above those of the vocabulary."""
    vector.cones2_word = Piece(id, word.encode(), True)  # type: ignore[attr-defined]


def marked_piece(vector: Tensor) -> Piece | None:
    """The piece of a vector that `mark_word` has marked."""
    piece: Piece | None = getattr(vector, "cones2_word", None)
    return piece


def read_prompt(clip: CLIP, text: str) -> tuple[PromptRecord, dict[str, Any]]:
    """The record of a prompt and its tokens the way CLIP.encode_from_tokens takes them.

    Raises ModelError for a text encoder that is not SD 1.x, SD 2.x or SDXL's, PromptError when the
    two SDXL encoders have the prompt's words at different token indices.
    """
    encoders, tokenize = clip.tokenize(text, return_word_ids=True), LiveTokenizer(clip.tokenizer)
    family = _family(encoders, tokenize)
    streams = [_real_tokens(chunks, tokenize, tokenize.width(name)) for name, chunks in encoders.items()]
    _check_same_indices(streams, text)
    length = sum(len(chunk) for chunk in encoders[_leading(encoders)])
    layer = family.layer if clip.layer_idx is None else clip.layer_idx
    record = PromptRecord(PromptTokens(text, tuple(streams[0]), length), tokenize, family, layer)
    return record, _without_word_ids(encoders)


def prompt_record(options: dict[str, Any]) -> PromptRecord:
    """What a conditioning's dict remembers. Raises PromptError when it was encoded by another node."""
    record: PromptRecord | None = options.get(PROMPT_KEY)
    if record is None:
        raise PromptError(
            "this conditioning does not know its words: encode the prompt with Text Encode (Cones 2), "
            "or connect the CLIP and repeat the text at Apply Residual to Conditioning"
        )
    return record


def occurs(record: PromptRecord, subject: PhraseRef) -> bool:
    """Whether the prompt has the phrase, and as often as its number says."""
    return locate_present(record.tokens, [subject], record.tokenize) != [None]


def check_known(records: Sequence[PromptRecord], subjects: Sequence[PhraseRef]) -> None:
    """Raise PromptError for a subject that occurs in none of several combined prompts."""
    for subject in subjects:
        if not any(occurs(record, subject) for record in records):
            locate_subjects(records[0].tokens, [subject], records[0].tokenize)


def _family(encoders: Mapping[str, Any], tokenize: LiveTokenizer) -> ModelFamily:
    known = all(hasattr(tokenize.tokenizer, f"clip_{name}") for name in encoders)
    family = family_of_encoders({name: tokenize.width(name) for name in encoders}) if known else None
    if family is None:
        raise ModelError(
            f"this CLIP has the text encoders {', '.join(sorted(encoders))}: subjects need the CLIP of an SD 1.x, "
            "SD 2.x or SDXL model"
        )
    return family


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


def _without_word_ids(encoders: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [[token[:2] for token in chunk] for chunk in chunks] for name, chunks in encoders.items()}


def _leading(encoders: Mapping[str, Any]) -> str:
    """The encoder whose tokens stand for all; their indices are the same."""
    return "l" if "l" in encoders else next(iter(encoders))
