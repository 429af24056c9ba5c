"""Which tokens each subject of a guidance config gets its residual added to."""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError, PromptError
from ..messages import shown
from ..prompt.claims import Claim, PhraseRef, locate_subjects
from ..prompt.tokens import PromptTokens, Span, Tokenize, bare_phrase, find_phrase, listed_words, words
from .config import GuidanceConfig
from .config_values import ConfigSubject

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"(.+)#(\d{1,6})\W*", re.DOTALL)


@dataclass(frozen=True)
class Placement:
    """A residual of a config at its tokens.

    name: as the config calls it.
    residual: its file, if it exists.
    reference: the phrase it belongs to, and which of its occurrences where one was selected.
    claim: the tokens it is added to.
    """

    name: str
    residual: Path | None
    reference: PhraseRef
    claim: Claim


@dataclass(frozen=True)
class PlacementReport:
    """Placements in the order of `subject_list`; with problems, only those that could be made."""

    placements: list[Placement]
    problems: list[str]
    notes: list[str]


def resolve_subjects(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, typed_positions: bool = False
) -> list[Placement]:
    """The tokens of every subject of `subject_list`, in its order; docs/prompts.md has the rules.

    typed_positions: the published behavior, tokens from the typed position on, whatever is there.
    Raises ConfigError naming file, entry, subject and the prompt's words; logs what it had to guess.
    """
    report = place_subjects(config, prompt, tokenize, typed_positions)
    if report.problems:
        raise ConfigError(report.problems[0])
    for note in report.notes:
        log.warning("%s", note)
    return report.placements


def place_subjects(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, typed_positions: bool = False
) -> PlacementReport:
    """Like resolve_subjects, but reports every problem and warning instead of raising and logging."""
    occurrences = _Occurrences(prompt, tokenize)
    typed: dict[int, Placement] = {}
    choices: dict[int, _Choice] = {}
    problems: list[str] = []
    for index, subject in enumerate(config.subjects):
        try:
            if typed_positions and subject.position is not None:
                typed[index] = _typed(subject, subject.position, occurrences)
            else:
                choices[index] = _choose(subject, config, occurrences)
        except ConfigError as error:
            problems.append(f"{config.where}: {error}")
    try:
        claims = _claims(list(choices.values()), config, occurrences)
    except PromptError as error:
        return PlacementReport(list(typed.values()), [*problems, f"{config.where}: {error}"], [])
    placed, notes = dict(typed), []
    for (index, choice), claim in zip(choices.items(), claims, strict=True):
        placed[index] = Placement(choice.subject.name, choice.subject.residual, choice.reference, claim)
        if choice.note:
            notes.append(f"{config.where}: {choice.note}; {_used(choice, claim)}")
    return PlacementReport([placed[index] for index in sorted(placed)], problems, notes)


@dataclass
class _Occurrences:
    """Where phrases occur in one prompt; each is searched once."""

    prompt: PromptTokens
    tokenize: Tokenize
    _found: dict[str, list[Span]] = field(default_factory=dict)

    def of(self, phrase: str) -> list[Span]:
        if phrase not in self._found:
            self._found[phrase] = find_phrase(self.prompt, phrase, self.tokenize)
        return self._found[phrase]

    def at(self, phrase: str, position: int | None) -> int | None:
        """The number of the occurrence that covers a token index, from 1; None when none does."""
        return next((number for number, span in enumerate(self.of(phrase), 1) if position in span), None)

    def word_at(self, position: int | None) -> str | None:
        """The word that covers a token index."""
        return next((word for word, span in words(self.prompt) if position in span), None)


@dataclass(frozen=True)
class _Choice:
    """A subject and the phrase chosen for it; note: what had to be guessed."""

    subject: ConfigSubject
    reference: PhraseRef
    note: str = ""


def _claims(choices: list[_Choice], config: GuidanceConfig, occurrences: _Occurrences) -> list[Claim]:
    """One claim per choice. Longer phrases of the color table ("hot dog") keep their words where they can."""
    prompt, tokenize = occurrences.prompt, occurrences.tokenize
    references = [choice.reference for choice in choices]
    covered = {span for reference in references for span in occurrences.of(reference.phrase)}
    longer = [phrase for phrase in _table_phrases(config) if _covers(occurrences.of(phrase), covered)]
    try:
        claims = locate_subjects(prompt, [*references, *map(PhraseRef, longer)], tokenize)
    except PromptError:
        claims = locate_subjects(prompt, references, tokenize)
    return claims[: len(choices)]


def _covers(wide: list[Span], covered: set[Span]) -> bool:
    """Whether one of the occurrences `wide` of a phrase, in reading order, contains one of the others, and more."""
    starts = [span[0] for span in wide]
    for part in covered - set(wide):
        before = bisect_right(starts, part[0])
        if before and part[-1] <= wide[before - 1][-1]:
            return True
    return False


def _table_phrases(config: GuidanceConfig) -> list[str]:
    phrases = (bare_phrase(entry.subject) for entry in config.colors)
    return [phrase for phrase in dict.fromkeys(phrases) if phrase]


def _choose(subject: ConfigSubject, config: GuidanceConfig, occurrences: _Occurrences) -> _Choice:
    base, number = _numbered(subject.name)
    for phrase in _spellings(base):
        if not occurrences.of(phrase):
            continue
        if number is not None:
            return _Choice(subject, PhraseRef(phrase, number))
        selected = occurrences.at(phrase, subject.position)
        if selected is not None or subject.position is None:
            return _Choice(subject, PhraseRef(phrase, selected))
        word = occurrences.word_at(subject.position)
        where = "not a word of the prompt" if word is None else f'the word "{shown(word, 40)}"'
        note = f'position {subject.position} of "{shown(subject.name)}" is {where}'
        return _Choice(subject, PhraseRef(phrase), note)
    return _chosen_by_position(subject, config, occurrences)


def _chosen_by_position(subject: ConfigSubject, config: GuidanceConfig, occurrences: _Occurrences) -> _Choice:
    """The phrase at the typed position: the longest of the color table that covers it, else the word."""
    word = occurrences.word_at(subject.position)
    declared = sorted(_table_phrases(config), key=len, reverse=True)
    for text in [*declared, *([] if word is None else [word])]:
        phrase = bare_phrase(_numbered(text)[0])
        selected = occurrences.at(phrase, subject.position)
        if selected is not None:
            note = f'"{shown(subject.name)}" is not a phrase of the prompt, but its position {subject.position} is'
            return _Choice(subject, PhraseRef(phrase, selected), note)
    raise ConfigError(
        f'the prompt has no phrase for the subject "{shown(subject.name)}"; '
        f"its words are: {listed_words(occurrences.prompt)}"
    )


def _typed(subject: ConfigSubject, position: int, occurrences: _Occurrences) -> Placement:
    """As many tokens from the typed one on as the subject's phrase has."""
    prompt = occurrences.prompt
    if position >= prompt.length:
        raise ConfigError(
            f'position {position} of "{shown(subject.name)}" lies beyond the {prompt.length} tokens of the prompt'
        )
    phrases = _spellings(_numbered(subject.name)[0]) or [subject.name]
    phrase = next((phrase for phrase in phrases if occurrences.of(phrase)), phrases[-1])
    following = [token.index for token in prompt.tokens if token.index > position]
    span = (position, *following[: max(0, len(occurrences.tokenize(phrase)) - 1)])
    return Placement(subject.name, subject.residual, PhraseRef(phrase), Claim(phrase, (span,)))


def _used(choice: _Choice, claim: Claim) -> str:
    tokens = ", ".join(map(str, claim.token_indices[:20]))
    return f'"{shown(choice.reference.phrase)}" is used (token {tokens})'


def _spellings(name: str) -> list[str]:
    """What a residual's name may be called in a prompt: "<pet_cat2>" → "pet cat2", "pet cat"."""
    spaced = bare_phrase(name.replace("_", " "))
    undigited = bare_phrase(re.sub(r"\d+$", "", spaced))
    return [phrase for phrase in dict.fromkeys([spaced, undigited]) if phrase]


def _numbered(name: str) -> tuple[str, int | None]:
    """("dog", 2) of "dog#2"."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)
