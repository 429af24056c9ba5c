"""Everything that is wrong with a guidance config, found in one go (`cones2 config check`)."""

from __future__ import annotations

from pathlib import Path

from ..messages import MESSAGE_LIMIT, shown
from ..prompt.tokens import Tokenize, chunked_tokens
from .check_files import Residuals, layout_problems
from .check_prompt import phrase_problems, placement_problems
from .config import read_configs


def check_guidance_configs(path: str | Path, tokenize: Tokenize | None) -> list[str]:
    """All problems of a guidance config file, one printable sentence each, naming file and entry.

    Looks at keys, types and ranges, at the files it names (missing or unreadable residuals and
    layouts, colors the layout picture lacks) and, given a tokenizer, at the prompt: subjects it
    lacks and typed positions that are on another word. Without a tokenizer (None) phrases and
    positions are not checked: words and tokens are different things. Raises nothing.
    """
    configs, findings = read_configs(Path(path))
    problems = [*findings.problems, *findings.notes]
    residuals, layouts = Residuals(), layout_problems(configs)
    for config in configs:
        token_nums, unreadable = residuals.of(config)
        problems += unreadable
        problems += [layouts[config.entry]] if config.entry in layouts else []
        if tokenize is not None and config.prompt:
            prompt = chunked_tokens(config.prompt, tokenize(config.prompt))
            problems += phrase_problems(config, prompt, tokenize)
            problems += placement_problems(config, prompt, tokenize, token_nums)
    return list(dict.fromkeys(shown(problem, MESSAGE_LIMIT) for problem in problems))
