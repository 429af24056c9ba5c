"""Which tokens of a prompt belong to which subject: every token has at most one owner.

docs/prompts.md has the rules with examples.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import PromptError
from ..messages import LIST_LIMIT, shown
from ..ranges import MAX_PHRASE
from .tokens import PromptTokens, Span, Tokenize, bare_phrase, ends_in_edge, find_places, listed_words, phrase_ids

log = logging.getLogger(__name__)

_PICTURE = re.compile(r"\s*picture\s+([0-9]{1,3})\s*", re.IGNORECASE)

Origin = Literal["typed", "layout", "file name"]


@dataclass(frozen=True)
class PhraseRef:
    """A phrase of a prompt as users name it: "dog", or "dog#2" for the second dog alone.

    phrase: without punctuation and spaces around it, at most 200 characters.
    occurrence: which of its occurrences, from 1; None for as many as are free.
    picture: the number of the reference picture that shows the subject, from 1; then the phrase may be "".
    origin: where it comes from, for the sentence that says that it is not in a prompt.
    """

    phrase: str
    occurrence: int | None = None
    picture: int | None = field(default=None, compare=False)
    origin: Origin = field(default="typed", compare=False)

    def come_from(self, origin: Origin) -> PhraseRef:
        """The same reference with another origin."""
        return replace(self, origin=origin)

    def __str__(self) -> str:
        named = self.phrase if self.occurrence is None else f"{self.phrase}#{self.occurrence}"
        return named if self.picture is None else f"{named} + picture {self.picture}".strip()


@dataclass(frozen=True)
class Claim:
    """The tokens that one subject owns.

    phrase: normalized: no edge punctuation, lower case.
    spans: one per occurrence, in reading order.
    """

    phrase: str
    spans: tuple[Span, ...]

    @property
    def token_indices(self) -> Span:
        """All its tokens, in reading order."""
        return tuple(index for span in self.spans for index in span)


def parse_phrase(text: str) -> PhraseRef:
    """The reference that a user typed: "dog", "<dog>,", "dog#2", or with a picture "dog + picture 1", "+ picture 1".

    Raises PromptError for a phrase without words and without a picture, or of more than 200 characters.
    """
    if len(text) > 2 * MAX_PHRASE:
        raise PromptError(f'the subject phrase "{shown(text, 40)}" is longer than {MAX_PHRASE} characters')
    words, plus, shows = text.rpartition("+")
    if plus and (pictured := _PICTURE.fullmatch(shows)):
        picture = int(pictured[1])
        if not picture:
            raise PromptError(f'"{shown(text)}" names picture 0: reference pictures are counted from 1')
        named = parse_phrase(words) if words.strip() else PhraseRef("")
        return replace(named, picture=picture)
    trimmed = " ".join(text.split())
    while trimmed and trimmed[-1] != "#" and ends_in_edge(trimmed):
        trimmed = trimmed[:-1]
    base, hash_sign, number = trimmed.rpartition("#")
    selects = bool(hash_sign) and number.isdecimal()
    phrase = bare_phrase(base if selects else trimmed)
    if phrase and not selects and phrase != trimmed:
        return parse_phrase(phrase)  # "dog#2#": the number shows when the edge is off
    if not phrase:
        raise PromptError(f'the subject phrase "{shown(text)}" is empty: name a word of the prompt')
    if len(phrase) > MAX_PHRASE:
        raise PromptError(f'the subject phrase "{shown(phrase, 40)}" is longer than {MAX_PHRASE} characters')
    return PhraseRef(phrase, int(number) if selects else None)


def locate_subjects(
    prompt: PromptTokens, subjects: Sequence[PhraseRef], tokenize: Tokenize, share: bool = False
) -> list[Claim]:
    """The tokens of every declared subject: one Claim per subject, in the same order.

    share: whether surplus declarations of one phrase may join its last place (the regions of a layout
    may overlap; a warning is logged) instead of being an error.
    Raises PromptError for a phrase that is not in the prompt (listing its words), numbered beyond
    its count (telling the count), or left without a place (naming who has it).
    """
    declared = _declare(prompt, subjects, tokenize)
    for each in declared:
        _check_found(each, prompt)
    return _claims(prompt, declared, share)


def locate_present(
    prompt: PromptTokens, subjects: Sequence[PhraseRef], tokenize: Tokenize, share: bool = False
) -> list[Claim | None]:
    """As locate_subjects, for one of several combined prompts: None for a subject that this prompt does not name."""
    declared = _declare(prompt, subjects, tokenize)
    present = [each for each in declared if each.is_there]
    claims = iter(_claims(prompt, present, share))
    return [next(claims) if each.is_there else None for each in declared]


@dataclass(frozen=True, eq=False)
class _Declared:
    """A declared subject.

    ids: token ids of its phrase.
    places: every place of the phrase in the stream.
    base_count: how often the part before a "#" occurs that is not followed by a number, such as in "dog#x".
    """

    subject: PhraseRef
    ids: tuple[int, ...]
    places: tuple[range, ...]
    base_count: int

    @property
    def is_there(self) -> bool:
        """Whether the prompt has the phrase, and as often as the number says."""
        number = 1 if self.subject.occurrence is None else self.subject.occurrence
        return 1 <= number <= len(self.places)


@dataclass
class _Assignment:
    """Who holds which stream position, and what each declaration got."""

    holder: dict[int, _Declared] = field(default_factory=dict)
    taken: dict[int, list[range]] = field(default_factory=dict)  # id of the declaration → its places

    def holders(self, place: range) -> list[_Declared]:
        return [self.holder[position] for position in place if position in self.holder]

    def hold(self, each: _Declared, place: range) -> None:
        self.holder.update(dict.fromkeys(place, each))

    def give(self, each: _Declared, places: list[range]) -> None:
        self.taken[id(each)] = places
        for place in places:
            self.hold(each, place)


def _declare(prompt: PromptTokens, subjects: Sequence[PhraseRef], tokenize: Tokenize) -> list[_Declared]:
    """The subjects with their places; a phrase that several of them name is searched once."""
    found: dict[str, tuple[tuple[int, ...], tuple[range, ...], int]] = {}
    for phrase in dict.fromkeys(subject.phrase for subject in subjects):
        ids = phrase_ids(phrase, tokenize)
        base = phrase_ids(phrase.rpartition("#")[0], tokenize)
        found[phrase] = ids, tuple(find_places(prompt, ids)), len(find_places(prompt, base))
    return [_Declared(subject, *found[subject.phrase]) for subject in subjects]


def _check_found(each: _Declared, prompt: PromptTokens) -> None:
    subject, count = each.subject, len(each.places)
    if each.is_there:
        return
    if count:
        raise PromptError(_no_such_number(subject, subject.phrase, count))
    if each.base_count:
        raise PromptError(_no_such_number(subject, bare_phrase(subject.phrase.rpartition("#")[0]), each.base_count))
    raise PromptError(_ABSENT[subject.origin].format(phrase=subject.phrase, words=listed_words(prompt)))


_ABSENT: dict[Origin, str] = {
    "typed": '"{phrase}" is not in the prompt; its words are: {words}',
    "layout": 'the layout places "{phrase}", which is not in the prompt; its words are: {words}',
    "file name": '"{phrase}", the name of the residual\'s file, is not in the prompt; its words are: {words}; '
    "say which of them the residual is for where it is loaded (subject)",
}


def _no_such_number(subject: PhraseRef, phrase: str, count: int) -> str:
    numbers = "1" if count == 1 else f"1 to {count}"
    return (
        f'there is no "{shown(subject)}": "{phrase}" occurs {_times(count)} in the prompt, '
        f"so the number after # may be {numbers}"
    )


def _claims(prompt: PromptTokens, declared: Sequence[_Declared], share: bool) -> list[Claim]:
    """Numbered places first, then longer phrases before shorter ones, then earlier places before later ones."""
    assignment = _Assignment()
    _reserve_numbered(assignment, declared, share)
    groups: dict[tuple[int, ...], list[_Declared]] = {}
    for each in declared:
        if each.subject.occurrence is None:
            groups.setdefault(each.ids, []).append(each)
    free = _free_places(assignment, groups)
    for ids, members in groups.items():
        _share_out(assignment, members, free[ids], share)
    return [
        Claim(each.subject.phrase.lower(), tuple(prompt.span(place) for place in assignment.taken[id(each)]))
        for each in declared
    ]


def _reserve_numbered(assignment: _Assignment, declared: Sequence[_Declared], share: bool) -> None:
    for each in declared:
        if each.subject.occurrence is None:
            continue
        place = each.places[each.subject.occurrence - 1]
        others = assignment.holders(place)
        if others and not (share and all(other.ids == each.ids for other in others)):
            raise PromptError(f'"{each.subject}" is already taken by {_names(others)}')
        assignment.give(each, [place])


def _free_places(
    assignment: _Assignment, groups: dict[tuple[int, ...], list[_Declared]]
) -> dict[tuple[int, ...], list[range]]:
    """The places that each phrase can have; no token serves two different phrases."""
    free: dict[tuple[int, ...], list[range]] = {ids: [] for ids in groups}
    candidates = [(place, ids) for ids, members in groups.items() for place in members[0].places]
    for place, ids in sorted(candidates, key=lambda candidate: (-len(candidate[0]), candidate[0].start)):
        if not assignment.holders(place):
            free[ids].append(place)
            assignment.hold(groups[ids][0], place)
    return free


def _share_out(assignment: _Assignment, members: list[_Declared], places: list[range], share: bool) -> None:
    """One declaration takes all free places of its phrase; several take one each, in their order."""
    first = members[0]
    if not places:
        places = [_last_numbered(assignment, first, share)]
    elif len(members) > len(places) and not share:
        raise PromptError(
            f'"{first.subject}" is declared {_times(len(members))} but only {_times(len(places))} free in the prompt'
        )
    if len(members) == 1:
        assignment.give(first, places)
        return
    if len(members) != len(places):
        log.warning(
            '"%s" is declared %s for %s in the prompt: %s',
            shown(first.subject),
            _times(len(members)),
            "1 place" if len(places) == 1 else f"{len(places)} places",
            "the last place is shared" if len(members) > len(places) else "further places stay free",
        )
    for rank, each in enumerate(members):
        assignment.give(each, [places[min(rank, len(places) - 1)]])


def _last_numbered(assignment: _Assignment, each: _Declared, share: bool) -> range:
    """The last place that an equal, numbered phrase holds, to be shared; raises PromptError when there is none."""
    equal = [place for place in each.places if all(other.ids == each.ids for other in assignment.holders(place))]
    if share and equal:
        names = _names(assignment.holders(equal[-1]))
        log.warning('"%s" shares its place with %s', shown(each.subject), shown(names))
        return equal[-1]
    holders = [other for place in each.places for other in assignment.holders(place)]
    raise PromptError(f'"{each.subject}" has no place of its own in the prompt: {_names(holders)} has it')


def _names(declared: Iterable[_Declared]) -> str:
    return shown(" and ".join(dict.fromkeys(f'"{each.subject}"' for each in declared)), LIST_LIMIT)


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"
