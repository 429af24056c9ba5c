"""Which rows of the text conditioning belong to which subject phrase.

A prompt is a stream of real tokens (no start, end or pad tokens), each knowing its row in the
conditioning. A phrase is tokenized by the same live tokenizer and its run of ids is searched in
that stream, so words of several tokens, prompts of several 77-row chunks and any vocabulary work.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import PromptError

log = logging.getLogger(__name__)

Span = tuple[int, ...]
Tokenize = Callable[[str], Sequence[tuple[int, str]]]
"""Phrase → (id, BPE piece) pairs of the live tokenizer, without start, end and pad tokens."""

CHUNK_ROWS = 77  # rows of the conditioning per chunk: start token, 75 tokens, end token
CHUNK_CONTENT = 75
WORD_END = "</w>"
_MARKUP = "<>|`^~"  # symbols that only ever wrap a phrase; all other symbols and emoji stay


@dataclass(frozen=True)
class Token:
    """One real token. `row` is 77 · chunk + position, the start token being position 0.

    `text` is its BPE piece, "dog</w>" where it ends a word; an embedding vector put into the
    prompt has no piece: text "" (and an id that no vocabulary uses).
    """

    id: int
    row: int
    text: str


@dataclass(frozen=True)
class PromptTokens:
    """The real tokens of a prompt in reading order, and the rows of its conditioning (77 per chunk)."""

    prompt: str
    tokens: tuple[Token, ...]
    length: int


@dataclass(frozen=True)
class Claim:
    """The rows one subject owns: one row tuple per occurrence, in reading order.

    Span of an occurrence are those of its tokens, first to last; they need not be adjacent, since
    a phrase may straddle two chunks. `phrase` is normalized: no edge punctuation, lower case.
    """

    phrase: str
    spans: tuple[Span, ...]


def split_rows(count: int, content: int = CHUNK_CONTENT) -> list[int]:
    """Conditioning rows of `count` real tokens put into chunks of `content` tokens each."""
    return [(content + 2) * (index // content) + 1 + index % content for index in range(count)]


def stream_from_ids(prompt: str, pieces: Sequence[tuple[int, str]]) -> PromptTokens:
    """Prompt tokens for (id, piece) pairs that fill chunks of 75 one after the other."""
    rows = split_rows(len(pieces))
    chunks = max(1, -(-len(pieces) // CHUNK_CONTENT))
    tokens = tuple(Token(id, row, text) for (id, text), row in zip(pieces, rows, strict=True))
    return PromptTokens(prompt, tokens, CHUNK_ROWS * chunks)


def words(prompt: PromptTokens) -> list[tuple[str, Span]]:
    """The prompt's words, rebuilt from BPE pieces, with their rows; punctuation counts as words.

    An embedding vector is a word with the text "".
    """
    found: list[tuple[str, Span]] = []
    pending: list[Token] = []
    for index, token in enumerate(prompt.tokens):
        pending.append(token)
        if _ends_word(token) or index + 1 == len(prompt.tokens) or not prompt.tokens[index + 1].text:
            found.append((_join(pending), tuple(part.row for part in pending)))
            pending = []
    return found


def listed_words(prompt: PromptTokens) -> str:
    """The prompt's different words as error messages show them: "a, hot, dog"."""
    distinct = dict.fromkeys(word for word, _ in words(prompt) if bare_phrase(word))
    return ", ".join(distinct) or "none, it is empty"


def bare_phrase(text: str) -> str:
    """The phrase without punctuation, quotes, brackets and spaces around it; inner spaces single."""
    text = " ".join(text.split())
    start, stop = 0, len(text)
    while start < stop and _is_edge(text[start]):
        start += 1
    while start < stop and _is_edge(text[stop - 1]):
        stop -= 1
    return text[start:stop]


def find_phrase(prompt: PromptTokens, phrase: str, tokenize: Tokenize) -> list[Span]:
    """Span of every place where the phrase stands as whole words, whatever else is declared.

    Empty when it stands nowhere. "dog#2" is not understood here; see locate_subjects.
    """
    return [_rows(prompt, span) for span in _spans(prompt, _ids(bare_phrase(phrase), tokenize))]


def locate_subjects(
    prompt: PromptTokens, phrases: Sequence[str], tokenize: Tokenize, share: bool = False
) -> list[Claim]:
    """Give every declared subject phrase its places in the prompt: one Claim per phrase, same order.

    - A phrase matches whole words only ("dog" is not in "hotdog"), ignoring case, and punctuation,
      quotes and brackets around it.
    - "dog#2" takes the second place where "dog" stands in the prompt, counting all of them. Such
      choices are served first, and no other phrase may overlap them.
    - Then longer phrases (in tokens) come before shorter ones, and the earlier place before the
      later one at equal length. With "hot dog" and "dog" declared, the dog of "a hot dog and a dog"
      is the second one only. No token serves two different phrases.
    - A phrase declared once takes all its places that are left. Declared k times, the first
      declaration takes the first place, the second the next, and so on; further places stay free
      and are logged.
    - When there are fewer places than declarations, the surplus ones join the last place with
      `share` (regions of one layout may overlap; a warning is logged); otherwise it is an error.

    Raises PromptError for a phrase that is empty, not in the prompt (listing the prompt's words),
    numbered beyond its count (telling the count), or left without a place (naming who has it).
    """
    wanted = [_parse(phrase, prompt, tokenize) for phrase in phrases]
    table = _Table(prompt, share)
    table.reserve_numbered(wanted)
    table.assign_plain(wanted)
    return [
        Claim(subject.phrase, tuple(_rows(prompt, span) for span in table.spans[index]))
        for index, subject in enumerate(wanted)
    ]


@dataclass(frozen=True)
class _Wanted:
    """A declared phrase: how it was typed, its token ids, its places and the one selected (from 0)."""

    typed: str
    phrase: str
    ids: tuple[int, ...]
    places: tuple[range, ...]
    selected: int | None


class _Table:
    """Who holds which tokens while subjects are served."""

    def __init__(self, prompt: PromptTokens, share: bool) -> None:
        self.prompt = prompt
        self.share = share
        self.holder: dict[int, _Wanted] = {}  # stream index → subject
        self.spans: dict[int, list[range]] = {}  # index of the declaration → its places

    def reserve_numbered(self, wanted: Sequence[_Wanted]) -> None:
        for index, subject in enumerate(wanted):
            if subject.selected is None:
                continue
            span = subject.places[subject.selected]
            others = self._holders(span)
            if others and not (self.share and all(other.ids == subject.ids for other in others)):
                raise PromptError(f"{_quoted(subject.typed)} is already taken by {_names(others)}")
            self._take(index, subject, [span])

    def assign_plain(self, wanted: Sequence[_Wanted]) -> None:
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, subject in enumerate(wanted):
            if subject.selected is None:
                groups.setdefault(subject.ids, []).append(index)
        candidates = [(span, ids) for ids, members in groups.items() for span in wanted[members[0]].places]
        free: dict[tuple[int, ...], list[range]] = {ids: [] for ids in groups}
        for span, ids in sorted(candidates, key=lambda item: (-len(item[0]), item[0].start)):
            if not self._holders(span):
                free[ids].append(span)
                self.holder.update(dict.fromkeys(span, wanted[groups[ids][0]]))
        for ids, members in groups.items():
            self._hand_out(wanted, members, free[ids])

    def _hand_out(self, wanted: Sequence[_Wanted], members: list[int], places: list[range]) -> None:
        subject = wanted[members[0]]
        if not places:
            places = [self._last_numbered(subject)]
        elif len(members) > len(places) and not self.share:
            raise PromptError(
                f"{_quoted(subject.typed)} is declared {_times(len(members))} "
                f"but only {_times(len(places))} free in the prompt"
            )
        if len(members) == 1:
            self._take(members[0], subject, places)
            return
        if len(members) != len(places):
            log.warning(
                "%s is declared %s for %s in the prompt: %s",
                _quoted(subject.typed),
                _times(len(members)),
                "1 place" if len(places) == 1 else f"{len(places)} places",
                "the last place is shared" if len(members) > len(places) else "further places stay free",
            )
        for rank, index in enumerate(members):
            self._take(index, wanted[index], [places[min(rank, len(places) - 1)]])

    def _last_numbered(self, subject: _Wanted) -> range:
        """The last place that an equal, numbered phrase holds, to be shared; raises when there is none."""
        holders = [other for span in subject.places for other in self._holders(span)]
        equal = [span for span in subject.places if all(other.ids == subject.ids for other in self._holders(span))]
        if self.share and equal:
            log.warning("%s shares its place with %s", _quoted(subject.typed), _names(self._holders(equal[-1])))
            return equal[-1]
        raise PromptError(f"{_quoted(subject.typed)} has no place of its own in the prompt: {_names(holders)} has it")

    def _holders(self, span: range) -> list[_Wanted]:
        return [self.holder[position] for position in span if position in self.holder]

    def _take(self, index: int, subject: _Wanted, spans: list[range]) -> None:
        self.spans[index] = spans
        for span in spans:
            self.holder.update(dict.fromkeys(span, subject))


def _parse(typed: str, prompt: PromptTokens, tokenize: Tokenize) -> _Wanted:
    base, hash_sign, number = _split_number(typed)
    phrase = bare_phrase(base if hash_sign else typed)
    if not phrase:
        raise PromptError(f"the subject phrase {_quoted(typed)} is empty: name a word of the prompt")
    ids = _ids(phrase, tokenize)
    places = tuple(_spans(prompt, ids))
    if hash_sign and not number.isdecimal():
        literal = bare_phrase(typed)
        literal_ids = _ids(literal, tokenize)
        if found := tuple(_spans(prompt, literal_ids)):
            return _Wanted(typed, literal.lower(), literal_ids, found, None)
    if not places:
        raise PromptError(f"{_quoted(phrase)} is not in the prompt; its words are: {listed_words(prompt)}")
    if not hash_sign:
        return _Wanted(typed, phrase.lower(), ids, places, None)
    if not number.isdecimal() or len(number) > 6 or not 1 <= int(number) <= len(places):
        raise PromptError(
            f"there is no {_quoted(typed)}: {_quoted(phrase)} stands {_times(len(places))} in the prompt, "
            f"so the number after # may be {'1' if len(places) == 1 else f'1 to {len(places)}'}"
        )
    return _Wanted(typed, phrase.lower(), ids, places, int(number) - 1)


def _split_number(typed: str) -> tuple[str, str, str]:
    """("dog", "#", "2") of "dog#2"; no "#" where the phrase ends without a selector."""
    text = " ".join(typed.split())
    while text and text[-1] != "#" and _is_edge(text[-1]):
        text = text[:-1]
    base, hash_sign, number = text.rpartition("#")
    selects = number.isdecimal() or (number and " " not in number and bare_phrase(base))
    return (base, hash_sign, number) if selects else (text, "", "")


def _ids(phrase: str, tokenize: Tokenize) -> tuple[int, ...]:
    return tuple(id for id, _ in tokenize(phrase)) if phrase else ()


def _spans(prompt: PromptTokens, ids: tuple[int, ...]) -> list[range]:
    """Stream positions of every whole-word run of these ids; runs do not overlap each other."""
    stream = prompt.tokens
    spans: list[range] = []
    for start in range(len(stream) - len(ids) + 1 if ids else 0):
        run = stream[start : start + len(ids)]
        if (spans and start < spans[-1].stop) or tuple(token.id for token in run) != ids:
            continue
        if (start == 0 or _ends_word(stream[start - 1])) and _ends_word(run[-1]):
            spans.append(range(start, start + len(ids)))
    return spans


def _rows(prompt: PromptTokens, span: range) -> Span:
    return tuple(prompt.tokens[position].row for position in span)


def _ends_word(token: Token) -> bool:
    return not token.text or token.text.endswith(WORD_END)


def _is_edge(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "PZ" or category in ("Cc", "Cf") or character in _MARKUP


def _join(tokens: Iterable[Token]) -> str:
    text = "".join(token.text for token in tokens).removesuffix(WORD_END)
    try:
        return bytes(_BYTE_OF[character] for character in text).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return text


def _byte_alphabet() -> dict[str, int]:
    """Character → byte of byte-level BPE vocabularies (GPT-2, CLIP).

    Printable Latin-1 stands for itself; the other bytes follow from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _quoted(text: str) -> str:
    return f'"{text}"'


def _names(subjects: Iterable[_Wanted]) -> str:
    return " and ".join(dict.fromkeys(_quoted(subject.typed) for subject in subjects))


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"
