"""What is wrong with the phrases and positions of a guidance config."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import PromptError
from ..messages import shown
from ..prompt.claims import PhraseRef, locate_subjects, parse_phrase
from ..prompt.tokens import PromptTokens, Tokenize
from .config import GuidanceConfig
from .placement import place_subjects


def phrase_problems(config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize) -> list[str]:
    """Color-table subjects the prompt lacks, each alone first; then those that leave each other no place."""
    problems = []
    found: dict[str, PhraseRef] = {}
    for text in dict.fromkeys(entry.subject for entry in config.colors):
        try:
            subject = parse_phrase(text)
            locate_subjects(prompt, [subject], tokenize)
            found[text] = subject
        except PromptError as error:
            problems.append(f"{config.where}: color_context: {error}")
    try:
        subjects = [found[entry.subject] for entry in config.colors if entry.subject in found]
        locate_subjects(prompt, subjects, tokenize, share=True)
    except PromptError as error:
        problems.append(f"{config.where}: color_context: {error}")
    return problems


def placement_problems(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, token_nums: Mapping[str, int]
) -> list[str]:
    """Subjects without a place, positions on another word, and residuals that cover more tokens than their phrase has.

    token_nums: tokens that each residual covers, by its name.
    """
    report = place_subjects(config, prompt, tokenize)
    problems = report.problems + report.notes
    for placement in report.placements:
        needed = token_nums.get(placement.name, 0)
        tokens = min(len(span) for span in placement.claim.spans)
        if needed > tokens:
            problems.append(
                f'{config.where}: the residual of "{shown(placement.name)}" has {needed} vectors, '
                f'but "{shown(placement.reference.phrase)}" has {tokens} token{"s" if tokens > 1 else ""}'
            )
    return problems
