"""Everything that is wrong with a guidance config, found in one go (`cones2 config check`)."""

from __future__ import annotations

from pathlib import Path

from ..concepts.residual import Residual
from ..concepts.residual_file import load_residual
from ..errors import Cones2Error, PromptError
from ..layout.colors import parse_color
from ..layout.regions import ColorEntry, layout_from_colors
from ..prompt.tokens import PromptTokens, Tokenize, locate_subjects, stream_from_ids
from ..storage.images import open_layout_picture
from .config import GuidanceConfig, read_configs
from .placement import place_subjects


def check_guidance_configs(path: str | Path, tokenize: Tokenize | None) -> list[str]:
    """All problems of a guidance config file, one sentence each, naming file and entry.

    Looks at keys, types and ranges, at the files it names (missing or unreadable residuals and
    layouts, colors the layout picture lacks) and, given a tokenizer, at the prompt: subjects it
    lacks and typed positions that stand on another word. Without a tokenizer (None) phrases and
    positions are not judged: words and tokens are different things. Raises nothing.
    """
    configs, findings = read_configs(Path(path))
    problems = findings.problems + findings.notes
    for config in configs:
        residuals, unreadable = _load_residuals(config)
        problems += unreadable
        problems += _layout_problems(config)
        if tokenize is not None and config.prompt:
            prompt = stream_from_ids(config.prompt, tokenize(config.prompt))
            problems += _phrase_problems(config, prompt, tokenize)
            problems += _placement_problems(config, prompt, tokenize, residuals)
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
    table = [ColorEntry(parse_color(text), subject, weight) for text, subject, weight in config.colors]
    try:
        layout_from_colors(open_layout_picture(config.layout), table)
    except Cones2Error as error:
        return [f"{config.where}: layout {config.layout.name}: {error}"]
    return []


def _phrase_problems(config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize) -> list[str]:
    """Color-table subjects the prompt lacks, each alone first; then those that leave each other no place."""
    problems = []
    phrases = []
    for _, phrase, _ in config.colors:
        try:
            locate_subjects(prompt, [phrase], tokenize)
            phrases.append(phrase)
        except PromptError as error:
            problems.append(f"{config.where}: color_context: {error}")
    try:
        locate_subjects(prompt, phrases, tokenize, share=True)
    except PromptError as error:
        problems.append(f"{config.where}: color_context: {error}")
    return problems


def _placement_problems(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, residuals: dict[str, Residual]
) -> list[str]:
    report = place_subjects(config, prompt, tokenize)
    problems = report.problems + report.notes
    for placement in report.placements:
        residual = residuals.get(placement.name)
        tokens = min(len(rows) for rows in placement.spans)
        if residual is not None and residual.token_num > tokens:
            problems.append(
                f'{config.where}: the residual of "{placement.name}" has {residual.token_num} rows, '
                f'but "{placement.phrase}" has {tokens} token{"s" if tokens > 1 else ""}'
            )
    return problems
