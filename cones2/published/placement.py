"""Which rows of the conditioning each subject of a guidance config gets its residual added to."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, PromptError
from ..prompt.tokens import (
    Claim,
    PromptTokens,
    Span,
    Tokenize,
    bare_phrase,
    find_phrase,
    listed_words,
    locate_subjects,
    words,
)
from .config import ConfigSubject, GuidanceConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubjectPlacement:
    """A residual, the prompt phrase it belongs to, and the rows of each occurrence it is added to."""

    name: str
    residual: Path | None
    phrase: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class PlacementReport:
    """Placements in the order of `subject_list`; with problems, only those that could be made."""

    placements: list[SubjectPlacement]
    problems: list[str]
    notes: list[str]


@dataclass(frozen=True)
class _Choice:
    """A subject, the phrase found for it, and the occurrence (from 1) that was selected, if any."""

    subject: ConfigSubject
    phrase: str
    occurrence: int | None
    note: str = ""


def resolve_subjects(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, strict_positions: bool = False
) -> list[SubjectPlacement]:
    """Span for every subject of `subject_list`, in its order.

    The names of that list are free ("<pet_cat>", "<dog6>", "dog#2"). The phrase is the name without
    brackets and with spaces for underscores, or without its trailing digits; where the prompt has
    neither, it is the color table's phrase, or else the word, at the typed position (with a
    warning). A typed position inside an occurrence of the phrase selects that occurrence; any other
    is ignored with a warning, and the phrase claims its places as in locate_subjects.

    strict_positions: the published behavior, rows from the typed position on, whatever stands there.
    Raises ConfigError naming file, entry, subject and the prompt's words.
    """
    report = place_subjects(config, prompt, tokenize, strict_positions)
    if report.problems:
        raise ConfigError(report.problems[0])
    for note in report.notes:
        log.warning("%s", note)
    return report.placements


def place_subjects(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, strict_positions: bool = False
) -> PlacementReport:
    """Like resolve_subjects, but reports every problem and warning instead of raising and logging."""
    placed: dict[int, SubjectPlacement] = {}
    choices: dict[int, _Choice] = {}
    problems: list[str] = []
    for index, subject in enumerate(config.subjects):
        try:
            if strict_positions and subject.position is not None:
                placed[index] = _typed_rows(subject, subject.position, prompt, tokenize)
            else:
                choices[index] = _choose(subject, config, prompt, tokenize)
        except ConfigError as error:
            problems.append(f"{config.where}: {error}")
    notes: list[str] = []
    try:
        claims = _claims(list(choices.values()), config, prompt, tokenize)
    except PromptError as error:
        return PlacementReport(list(placed.values()), [*problems, f"{config.where}: {error}"], notes)
    for (index, choice), claim in zip(choices.items(), claims, strict=True):
        subject = choice.subject
        placed[index] = SubjectPlacement(subject.name, subject.residual, choice.phrase, claim.spans)
        if choice.note:
            rows = ", ".join(str(row) for rows in claim.spans for row in rows)
            notes.append(f'{config.where}: {choice.note}; "{choice.phrase}" is used (row {rows})')
    return PlacementReport([placed[index] for index in sorted(placed)], problems, notes)


def _claims(choices: list[_Choice], config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize) -> list[Claim]:
    """One claim per choice. Longer phrases of the color table ("hot dog") keep their words where they can."""
    selectors = [_selector(choice) for choice in choices]
    mine = [rows for choice in choices for rows in find_phrase(prompt, choice.phrase, tokenize)]
    longer = [
        phrase
        for phrase in dict.fromkeys(bare_phrase(color.subject) for color in config.colors)
        if any(set(rows) < set(wide) for wide in find_phrase(prompt, phrase, tokenize) for rows in mine)
    ]
    try:
        return locate_subjects(prompt, [*selectors, *longer], tokenize)[: len(choices)]
    except PromptError:
        return locate_subjects(prompt, selectors, tokenize)


def _choose(subject: ConfigSubject, config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize) -> _Choice:
    base, number = _numbered(subject.name)
    for phrase in _phrases(base):
        places = find_phrase(prompt, phrase, tokenize)
        if places and number is not None:
            return _Choice(subject, phrase, number)
        if places:
            return _chosen_by_position(subject, phrase, places, prompt)
    found = _phrase_at(subject.position, config, prompt, tokenize)
    if found is None:
        raise ConfigError(
            f'the prompt has no phrase for the subject "{subject.name}"; its words are: {listed_words(prompt)}'
        )
    phrase, occurrence = found
    return _Choice(
        subject, phrase, occurrence, f'"{subject.name}" is no phrase of the prompt but stands at row {subject.position}'
    )


def _chosen_by_position(subject: ConfigSubject, phrase: str, places: list[Span], prompt: PromptTokens) -> _Choice:
    position = subject.position
    for occurrence, rows in enumerate(places, start=1):
        if position in rows:
            return _Choice(subject, phrase, occurrence)
    if position is None:
        return _Choice(subject, phrase, None)
    word = next((f'the word "{word}"' for word, rows in words(prompt) if position in rows), "no word of the prompt")
    return _Choice(subject, phrase, None, f'position {position} of "{subject.name}" is {word}')


def _phrase_at(
    position: int | None, config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize
) -> tuple[str, int] | None:
    """The phrase standing at a row, with its occurrence number: the color table's longest, else the word."""
    declared = sorted((color.subject for color in config.colors), key=len, reverse=True)
    at_row = [word for word, rows in words(prompt) if position in rows]
    for text in [*declared, *at_row]:
        phrase = bare_phrase(_numbered(text)[0])
        for occurrence, rows in enumerate(find_phrase(prompt, phrase, tokenize), start=1):
            if position in rows:
                return phrase, occurrence
    return None


def _typed_rows(subject: ConfigSubject, position: int, prompt: PromptTokens, tokenize: Tokenize) -> SubjectPlacement:
    """As many rows from the typed one on as the subject's phrase has tokens."""
    if position >= prompt.length:
        raise ConfigError(f'position {position} of "{subject.name}" lies beyond the {prompt.length} rows of the prompt')
    phrases = _phrases(_numbered(subject.name)[0]) or [subject.name]
    phrase = next((phrase for phrase in phrases if find_phrase(prompt, phrase, tokenize)), phrases[-1])
    following = [token.row for token in prompt.tokens if token.row > position]
    rows = (position, *following[: max(0, len(tokenize(phrase)) - 1)])
    return SubjectPlacement(subject.name, subject.residual, phrase, (rows,))


def _phrases(name: str) -> list[str]:
    """What a residual's name may be called in a prompt: "<pet_cat2>" → "pet cat2", "pet cat"."""
    spaced = bare_phrase(name.replace("_", " "))
    undigited = bare_phrase(re.sub(r"\d+$", "", spaced))
    return [phrase for phrase in dict.fromkeys([spaced, undigited]) if phrase]


def _numbered(name: str) -> tuple[str, int | None]:
    """("dog", 2) of "dog#2"."""
    match = re.fullmatch(r"(.+)#(\d{1,6})\W*", name)
    return (match[1], int(match[2])) if match else (name, None)


def _selector(choice: _Choice) -> str:
    return choice.phrase if choice.occurrence is None else f"{choice.phrase}#{choice.occurrence}"
