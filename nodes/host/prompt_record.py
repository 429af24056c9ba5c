"""What a conditioning remembers about its prompt, and the host's tokenizers as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...cones2.concepts.residual import Residual
from ...cones2.errors import ModelError, PromptError
from ...cones2.prompt.tokens import PromptTokens, Span, Token, locate_subjects

PROMPT_KEY = "cones2_prompt"
"""Key of a conditioning's dict that holds its PromptRecord."""

_EMBEDDING_ID = -1  # no vocabulary uses it

# what CLIP.tokenize returns tells the family of the text encoder
_FAMILIES = {("l",): "sd1", ("h",): "sd2", ("g", "l"): "sdxl"}
_OUTPUT_LAYER = {"sd1": -1, "sd2": -2, "sdxl": -2}


@dataclass(frozen=True, eq=False)
class Placed:
    """A residual that was added to a conditioning, and the rows of each place."""

    residual: Residual
    spans: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class PromptRecord:
    """The prompt of one conditioning: its tokens, how to tokenize a phrase, and who encoded it.

    layer: text-encoder layer the conditioning comes from (-1 is the last). placed: the residuals in it.
    """

    tokens: PromptTokens
    tokenize: LiveTokenizer
    family: str
    layer: int
    placed: tuple[Placed, ...] = ()

    def with_placed(self, placed: Sequence[Placed]) -> PromptRecord:
        return replace(self, placed=tuple(placed))


@dataclass(frozen=True, eq=False)
class LiveTokenizer:
    """A CLIP's tokenizer as a function: phrase → (id, BPE piece) pairs without start, end and pad tokens."""

    tokenizer: Any

    def __call__(self, phrase: str) -> list[tuple[int, str]]:
        encoders = self.tokenizer.tokenize_with_weights(phrase, return_word_ids=True, disable_weights=True)
        chunks = encoders[_leading(encoders)]
        ids = [id for chunk in chunks for id, _, word in chunk if word and not torch.is_tensor(id)]
        return [(id, self.piece(id)) for id in ids]

    def piece(self, id: int) -> str:
        return self.tokenizer.untokenize([(id, 1.0)])[0][1]

    def width(self, encoder: str) -> int:
        """Width of an encoder's token embeddings; others are skipped by the host."""
        return getattr(self.tokenizer, f"clip_{encoder}").embedding_size


def read_prompt(clip: Any, text: str) -> tuple[PromptRecord, dict[str, Any]]:
    """The record of a prompt and its tokens the way CLIP.encode_from_tokens takes them.

    Raises ModelError for a text encoder that is not SD 1.x, SD 2.x or SDXL's, PromptError when the
    two SDXL encoders place the prompt's words in different rows.
    """
    encoders = clip.tokenize(text, return_word_ids=True)
    family = _FAMILIES.get(tuple(sorted(encoders)))
    if family is None:
        raise ModelError(
            f"this CLIP has the text encoders {', '.join(sorted(encoders))}: subjects need the CLIP of an SD 1.x, SD "
            f"2.x or SDXL model"
        )
    tokenize = LiveTokenizer(clip.tokenizer)
    streams = [_real_tokens(chunks, tokenize, tokenize.width(name)) for name, chunks in encoders.items()]
    if any([token.row for token in stream] != [token.row for token in streams[0]] for stream in streams):
        raise PromptError(
            f'the embeddings in "{text}" fit only one of the two text encoders of SDXL: its words would stand in '
            f"different rows"
        )
    length = sum(len(chunk) for chunk in encoders[_leading(encoders)])
    layer = _OUTPUT_LAYER[family] if clip.layer_idx is None else clip.layer_idx
    record = PromptRecord(PromptTokens(text, tuple(streams[0]), length), tokenize, family, layer)
    return record, {name: [[pair[:2] for pair in chunk] for chunk in chunks] for name, chunks in encoders.items()}


def prompt_record(options: dict[str, Any]) -> PromptRecord:
    """What a conditioning's dict remembers. Raises PromptError when it was encoded by another node."""
    record = options.get(PROMPT_KEY)
    if record is None:
        raise PromptError(
            "this conditioning does not know its words: encode the prompt with Text Encode (Cones 2), "
            "or connect the CLIP and repeat the text at Apply Residual to Conditioning"
        )
    return record


def knows(record: PromptRecord, phrase: str) -> bool:
    """Whether the phrase stands in the prompt."""
    try:
        return bool(locate_subjects(record.tokens, [phrase], record.tokenize))
    except PromptError:
        return False


def check_known(records: Sequence[PromptRecord], phrases: Sequence[str]) -> None:
    """Raise PromptError for a phrase that stands in none of several combined prompts."""
    for phrase in phrases:
        if not any(knows(record, phrase) for record in records):
            locate_subjects(records[0].tokens, [phrase], records[0].tokenize)


def usual_layer(family: str) -> int:
    """The text-encoder layer that models of a family are conditioned on."""
    return _OUTPUT_LAYER[family]


def _real_tokens(chunks: Sequence[Sequence[Any]], tokenize: LiveTokenizer, width: int) -> list[Token]:
    """Tokens with their rows. An embedding of another width is dropped by the host: what follows moves up."""
    tokens: list[Token] = []
    start = 0
    for chunk in chunks:
        row = start
        for id, _, word in chunk:
            if torch.is_tensor(id):
                if id.shape[-1] != width:
                    continue
                tokens.append(Token(_EMBEDDING_ID, row, ""))
            elif word:
                tokens.append(Token(id, row, tokenize.piece(id)))
            row += 1
        start += len(chunk)
    return tokens


def _leading(encoders: Mapping[str, Any]) -> str:
    return "l" if "l" in encoders else next(iter(encoders))
