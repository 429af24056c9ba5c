"""Everything that is wrong with a guidance config, found in one go (`cones2 config check`)."""

from __future__ import annotations

from pathlib import Path

from .colours import parse_colour
from .config import GuidanceConfig, read_configs
from .errors import Cones2Error, PromptError
from .layout import ColourEntry, layout_from_colours
from .pictures import open_layout_picture
from .placement import place_subjects
from .residual import Residual, load_residual
from .tokens import PromptTokens, Tokenise, locate_subjects, stream_from_ids


def check_guidance_configs(path: str | Path, tokenise: Tokenise | None) -> list[str]:
    """All problems of a guidance config file, one sentence each, naming file and entry.

    Looks at keys, types and ranges, at the files it names (missing or unreadable residuals and
    layouts, colours the layout picture lacks) and, given a tokenizer, at the prompt: subjects it
    lacks and typed positions that stand on another word. Without a tokenizer (None) phrases and
    positions are not judged: words and tokens are different things. Raises nothing.
    """
    configs, findings = read_configs(Path(path))
    problems = findings.problems + findings.notes
    for config in configs:
        residuals, unreadable = _load_residuals(config)
        problems += unreadable
        problems += _layout_problems(config)
        if tokenise is not None and config.prompt:
            prompt = stream_from_ids(config.prompt, tokenise(config.prompt))
            problems += _phrase_problems(config, prompt, tokenise)
            problems += _placement_problems(config, prompt, tokenise, residuals)
    return list(dict.fromkeys(problems))


def _load_residuals(config: GuidanceConfig) -> tuple[dict[str, Residual], list[str]]:
    residuals: dict[str, Residual] = {}
    problems = []
    for subject in config.subjects:
        if subject.residual is not None and subject.name not in residuals:
            try:
                residuals[subject.name] = load_residual(subject.residual)
            except Cones2Error as error:
                problems.append(f'{config.where}: residual of "{subject.name}": {error}')
    return residuals, problems


def _layout_problems(config: GuidanceConfig) -> list[str]:
    if config.layout is None:
        return []
    table = [ColourEntry(parse_colour(text), subject, weight) for text, subject, weight in config.colours]
    try:
        layout_from_colours(open_layout_picture(config.layout), table)
    except Cones2Error as error:
        return [f"{config.where}: layout {config.layout.name}: {error}"]
    return []


def _phrase_problems(config: GuidanceConfig, prompt: PromptTokens, tokenise: Tokenise) -> list[str]:
    """Colour-table subjects the prompt lacks, each alone first; then those that leave each other no place."""
    problems = []
    phrases = []
    for _, phrase, _ in config.colours:
        try:
            locate_subjects(prompt, [phrase], tokenise)
            phrases.append(phrase)
        except PromptError as error:
            problems.append(f"{config.where}: color_context: {error}")
    try:
        locate_subjects(prompt, phrases, tokenise, share=True)
    except PromptError as error:
        problems.append(f"{config.where}: color_context: {error}")
    return problems


def _placement_problems(
    config: GuidanceConfig, prompt: PromptTokens, tokenise: Tokenise, residuals: dict[str, Residual]
) -> list[str]:
    report = place_subjects(config, prompt, tokenise)
    problems = report.problems + report.notes
    for placement in report.placements:
        residual = residuals.get(placement.name)
        tokens = min(len(rows) for rows in placement.occurrences)
        if residual is not None and residual.token_num > tokens:
            problems.append(
                f'{config.where}: the residual of "{placement.name}" has {residual.token_num} rows, '
                f'but "{placement.phrase}" has {tokens} token{"s" if tokens > 1 else ""}'
            )
    return problems
