"""Everything that is wrong with a guidance config, found in one go (`cones2 config check`)."""

from __future__ import annotations

from pathlib import Path

from ..concepts.residual_file import load_residual
from ..errors import Cones2Error, PromptError
from ..layout.painted import layout_from_colors
from ..messages import shown
from ..prompt.claims import PhraseRef, locate_subjects, parse_phrase
from ..prompt.tokens import PromptTokens, Tokenize, chunked_tokens
from ..storage.images import open_layout_picture
from .config import GuidanceConfig, read_configs
from .placement import place_subjects


def check_guidance_configs(path: str | Path, tokenize: Tokenize | None) -> list[str]:
    """All problems of a guidance config file, one sentence each, naming file and entry.

    Looks at keys, types and ranges, at the files it names (missing or unreadable residuals and
    layouts, colors the layout picture lacks) and, given a tokenizer, at the prompt: subjects it
    lacks and typed positions that are on another word. Without a tokenizer (None) phrases and
    positions are not checked: words and tokens are different things. Raises nothing.
    """
    configs, findings = read_configs(Path(path))
    problems = [*findings.problems, *findings.notes]
    for config in configs:
        token_nums, unreadable = _read_residuals(config)
        problems += unreadable
        problems += _layout_problems(config)
        if tokenize is not None and config.prompt:
            prompt = chunked_tokens(config.prompt, tokenize(config.prompt))
            problems += _phrase_problems(config, prompt, tokenize)
            problems += _placement_problems(config, prompt, tokenize, token_nums)
    return list(dict.fromkeys(problems))


def _read_residuals(config: GuidanceConfig) -> tuple[dict[str, int], list[str]]:
    """How many tokens each residual covers, by its name, and what is wrong with the others."""
    token_nums: dict[str, int] = {}
    problems = []
    for name, _, file in config.subjects:
        if file is None or name in token_nums:
            continue
        try:
            token_nums[name] = load_residual(file).token_num
        except Cones2Error as error:
            problems.append(f'{config.where}: residual of "{shown(name)}": {error}')
    return token_nums, problems


def _layout_problems(config: GuidanceConfig) -> list[str]:
    if config.layout is None:
        return []
    try:
        layout_from_colors(open_layout_picture(config.layout), config.colors)
    except Cones2Error as error:
        return [f"{config.where}: layout {shown(config.layout.name)}: {error}"]
    return []


def _phrase_problems(config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize) -> list[str]:
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


def _placement_problems(
    config: GuidanceConfig, prompt: PromptTokens, tokenize: Tokenize, token_nums: dict[str, int]
) -> list[str]:
    report = place_subjects(config, prompt, tokenize)
    problems = report.problems + report.notes
    for placement in report.placements:
        needed = token_nums.get(placement.name, 0)
        tokens = min(len(span) for span in placement.claim.spans)
        if needed > tokens:
            problems.append(
                f'{config.where}: the residual of "{shown(placement.name)}" has {needed} rows, '
                f'but "{placement.reference.phrase}" has {tokens} token{"s" if tokens > 1 else ""}'
            )
    return problems
