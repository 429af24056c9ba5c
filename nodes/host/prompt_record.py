"""What a conditioning remembers about its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...cones2.concepts.pictured import PlacedPictures
from ...cones2.concepts.residual import PlacedResidual
from ...cones2.errors import PromptError
from ...cones2.families.family import ModelFamily, TextEncoder, TokenRows, family_of_encoders
from ...cones2.prompt.claims import Claim, PhraseRef, locate_present, locate_subjects
from ...cones2.prompt.tokens import PromptTokens, Tokenize
from .prompt_streams import Stream, family_of, streams_of

if TYPE_CHECKING:
    from comfy.sd import CLIP

PROMPT_KEY = "cones2_prompt"
"""Key of a conditioning's dict that holds its PromptRecord."""


@dataclass(frozen=True, eq=False)
class PromptRecord:
    """The prompt of one conditioning.

    streams: it as its text encoders read it, one for each place where its words stand in what the model reads.
    family: of the model that its text encoders belong to.
    layer: text-encoder layer the conditioning comes from; -1 is the last.
    placed: its subjects at their tokens: residuals that were added to it, and those from pictures.
    clean: the conditioning [..., L, d] before the first of them; None while there are none.
    pictures: the rows of each of its reference pictures, where they are encoded with the text.
    """

    streams: tuple[Stream, ...]
    family: ModelFamily
    layer: int
    placed: tuple[PlacedResidual | PlacedPictures, ...] = ()
    clean: Tensor | None = None
    pictures: tuple[range, ...] = ()

    @property
    def tokens(self) -> PromptTokens:
        """The tokens of its first stream."""
        return self.streams[0].tokens

    @property
    def tokenize(self) -> Tokenize:
        """The tokenizer of its first stream."""
        return self.streams[0].tokenize

    @property
    def own(self) -> tuple[int, ...]:
        """The indices of the prompt's tokens, in all streams."""
        return tuple(index for stream in self.streams for index in stream.own)

    @property
    def rows(self) -> tuple[TokenRows, ...]:
        """The rows of its streams that residuals can be added to."""
        encoders = [encoder for encoder in self.family.named_encoders if self._has(encoder)]
        return tuple(rows for encoder in encoders if (rows := self.family.rows_of(encoder)) is not None)

    def stream_of(self, rows: TokenRows) -> Stream:
        """The stream with these rows of `rows`."""
        encoder = next(part for part in self.family.named_encoders if self.family.rows_of(part) == rows)
        return next(stream for stream in self.streams if stream.key == encoder.key)

    def _has(self, encoder: TextEncoder) -> bool:
        return any(stream.key == encoder.key for stream in self.streams)

    def with_placed(self, placed: Sequence[PlacedResidual | PlacedPictures], clean: Tensor) -> PromptRecord:
        """The record after residuals were added to `clean`."""
        return replace(self, placed=tuple(placed), clean=clean)

    def of(self, cond: Tensor) -> PromptRecord:
        """The record of the prompt that was encoded to `cond` [B, L, d].

        Raises PromptError when the conditioning has other tokens than its text encoders give.
        """
        if all(encoder.spelling == "clip" for encoder in self.family.encoders):
            return self
        rows, lengths = cond.shape[1], [stream.tokens.length for stream in self.streams]
        if len(lengths) > 1 and sum(lengths) != rows:
            raise PromptError(
                f"this conditioning has {rows} tokens, but the text encoders of {self.family.label} gave "
                f"{' and '.join(map(str, lengths))}: encode the prompt with Text Encode (Cones 2)"
            )
        widths = {encoder.key: encoder.width for encoder in self.family.encoders}
        family = family_of_encoders(widths, cond.shape[-1]) or self.family
        return replace(self, family=family, streams=tuple(stream.anchored(rows) for stream in self.streams))

    def locate(self, subjects: Sequence[PhraseRef]) -> list[Claim | None]:
        """The tokens of each subject, in all streams; None for one that the prompt does not name."""
        found = [locate_present(stream.tokens, subjects, stream.tokenize, share=True) for stream in self.streams]
        return [_together(claims) for claims in zip(*found, strict=True)]


def _together(claims: Sequence[Claim | None]) -> Claim | None:
    there = [claim for claim in claims if claim is not None]
    return Claim(there[0].phrase, tuple(span for claim in there for span in claim.spans)) if there else None


def read_prompt(clip: CLIP, text: str) -> tuple[PromptRecord, dict[str, Any]]:
    """The record of a prompt and its tokens the way CLIP.encode_from_tokens takes them.

    Where an encoder cuts off a template, the record's token indices count from the end until the conditioning is known
    (see `PromptRecord.of`). Raises ModelError for a text encoder of no known family, PromptError when the two SDXL
    encoders have the prompt's words at different token indices.
    """
    encoders = clip.tokenize(text, return_word_ids=True)
    family = family_of(encoders, clip.tokenizer)
    layer = family.layer if clip.layer_idx is None else clip.layer_idx
    record = PromptRecord(streams_of(clip, text, encoders, family), family, layer)
    return record, _without_word_ids(encoders)


def prompt_record(options: dict[str, Any]) -> PromptRecord:
    """What a conditioning's dict remembers. Raises PromptError when it was encoded by another node."""
    record: PromptRecord | None = options.get(PROMPT_KEY)
    if record is None:
        raise PromptError(
            "this conditioning does not know its words: encode the prompt with Text Encode (Cones 2), "
            "or connect the CLIP and repeat the text at Apply Layout Guidance or Apply Residual to Conditioning"
        )
    return record


def occurs(stream: Stream, subject: PhraseRef) -> bool:
    """Whether the prompt has the phrase, and as often as its number says."""
    return locate_present(stream.tokens, [subject], stream.tokenize) != [None]


def check_known(records: Sequence[PromptRecord], subjects: Sequence[PhraseRef]) -> None:
    """Raise PromptError for a subject that occurs in none of several combined prompts."""
    for subject in subjects:
        check_in([record.streams[0] for record in records], subject)


def check_in(streams: Sequence[Stream], subject: PhraseRef) -> None:
    """As `check_known`, of one subject, in one stream of each prompt."""
    if not any(occurs(stream, subject) for stream in streams):
        locate_subjects(streams[0].tokens, [subject], streams[0].tokenize)


def _without_word_ids(encoders: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [[token[:2] for token in chunk] for chunk in chunks] for name, chunks in encoders.items()}
