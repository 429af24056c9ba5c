"""Words of one's own on the host's CLIP: its tokenizer gives vectors for them, as for textual inversions."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...cones2.custom_diffusion.delta import Delta, ModifierToken, renamed_apart
from ...cones2.errors import DeltaError
from ...cones2.families.family import ModelFamily
from ...cones2.prompt.tokens import CHUNK_CONTENT, bare_phrase
from .prompt_record import read_prompt
from .prompt_streams import mark_word

if TYPE_CHECKING:
    from comfy.sd import CLIP

_FIRST_ID = 100_000  # above every vocabulary


class WordTokenizer:
    """A tokenizer of the host's that also knows words of one's own; all else is the tokenizer's.

    words: their vectors, in the order in which they were added.
    """

    def __init__(self, tokenizer: Any, words: Mapping[str, Tensor]) -> None:
        self.tokenizer, self.words = tokenizer, dict(words)
        names = sorted(words, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, names)) + ")")
        self._alone = {bare_phrase(name): name for name in words}

    def __call__(self, text: str, *arguments: Any, **options: Any) -> Any:
        """Ids with start and end token, and a vector for each word of one's own."""
        whole = self.tokenizer("", *arguments, **options)
        ids: list[Any] = []
        for part in self._pattern.split(self._alone.get(text.strip(), text)):
            if part in self.words:
                ids.append(self.words[part])
            elif part.strip():
                ids += self._content(part, arguments, options)
        start, end = whole["input_ids"][:1], whole["input_ids"][1:]
        return {"input_ids": [*start, *ids, *end]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["tokenizer"], name)

    def _content(self, text: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> list[int]:
        ids: list[int] = self.tokenizer(text, *arguments, **options)["input_ids"]
        return ids[1:-1]


def with_tokens(clip: CLIP, delta: Delta, strength: float) -> tuple[CLIP, Delta]:
    """The CLIP with the delta's words, and the delta with the names that they got: others where one is taken.

    strength: factor on the vectors. Raises DeltaError for vectors of another text encoder, or a CLIP of a family that
    takes no deltas.
    """
    record, tokens = read_prompt(clip, "")
    _check_takes_deltas(record.family)
    if not delta.tokens:
        return clip, delta
    encoders = list(tokens)
    known = words_of(clip, encoders[0])
    placeholder = Delta({}, tuple(ModifierToken(name, (vector,)) for name, vector in known.items()))
    named = renamed_apart([placeholder, delta])[1]
    words = {}
    for place, encoder in enumerate(encoders):
        width = getattr(clip.tokenizer, f"clip_{encoder}").embedding_size
        vectors = {token.name: _vector(token, place, width, strength) for token in named.tokens}
        words[encoder] = {**words_of(clip, encoder), **vectors}
    return with_words(clip, words), named


def with_words(clip: CLIP, words: Mapping[str, Mapping[str, Tensor]]) -> CLIP:
    """The CLIP with these words of one's own in place of those that it knew.

    words: of each text encoder the vectors [d] by name; the very tensors are put into prompts.
    """
    changed = clip.clone()
    changed.tokenizer = copy.copy(clip.tokenizer)
    for encoder, vectors in words.items():
        for rank, (name, vector) in enumerate(vectors.items()):
            mark_word(vector, name, _FIRST_ID + rank)
        extended = copy.copy(getattr(clip.tokenizer, f"clip_{encoder}"))
        extended.tokenizer = WordTokenizer(_unwrapped(extended.tokenizer), vectors)
        setattr(changed.tokenizer, f"clip_{encoder}", extended)
    return changed


def without_words(clip: CLIP) -> CLIP:
    """The CLIP as it was before any word of one's own was added. Raises DeltaError as `with_tokens` does."""
    record, encoders = read_prompt(clip, "")
    _check_takes_deltas(record.family)
    plain = clip.clone()
    plain.tokenizer = copy.copy(clip.tokenizer)
    for encoder in encoders:
        own = copy.copy(getattr(clip.tokenizer, f"clip_{encoder}"))
        own.tokenizer = _unwrapped(own.tokenizer)
        setattr(plain.tokenizer, f"clip_{encoder}", own)
    return plain


def words_of(clip: CLIP, encoder: str) -> dict[str, Tensor]:
    """The words of one's own that a CLIP's encoder knows."""
    tokenizer = getattr(clip.tokenizer, f"clip_{encoder}").tokenizer
    return dict(tokenizer.words) if isinstance(tokenizer, WordTokenizer) else {}


def text_rows(clip: CLIP, prompt: str) -> Tensor:
    """The conditioning of a prompt [n, d] from the start token to the end token, float32."""
    record, tokens = read_prompt(clip, prompt)
    rows: Tensor = clip.encode_from_tokens(tokens)
    return rows[0, : len(record.tokens.tokens[:CHUNK_CONTENT]) + 2].float().cpu()


def prompts_of(tokens: Sequence[ModifierToken]) -> str:
    """The tokens as prompts use them, one per line: "<new1> cat"."""
    return "\n".join(f"{token.name} {token.class_word}".strip() for token in tokens)


def _check_takes_deltas(family: ModelFamily) -> None:
    if "flow" in family.predictions:
        raise DeltaError(
            f"this CLIP is of {family.label}: Custom Diffusion is for the text encoders of SD 1.x, SD 2.x and SDXL"
        )


def _unwrapped(tokenizer: Any) -> Any:
    return tokenizer.tokenizer if isinstance(tokenizer, WordTokenizer) else tokenizer


def _vector(token: ModifierToken, place: int, width: int, strength: float) -> Tensor:
    widths = [len(vector) for vector in token.vectors]
    if place >= len(widths) or widths[place] != width:
        raise DeltaError(
            f"the token {token.name} has {' + '.join(map(str, widths))} numbers but this CLIP's text encoder "
            f"{place + 1} reads {width}: the file is for another kind of model"
        )
    return (token.vectors[place] * strength).clone()
