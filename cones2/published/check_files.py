"""What is wrong with the files that a guidance config names."""

from __future__ import annotations

from ..concepts.residual_file import load_residual
from ..errors import Cones2Error
from ..layout.painted import layout_from_colors
from ..messages import shown
from ..storage.images import open_layout_picture
from .config import GuidanceConfig


def read_residuals(config: GuidanceConfig) -> tuple[dict[str, int], list[str]]:
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


def layout_problems(config: GuidanceConfig) -> list[str]:
    """Why the layout picture cannot be read with the config's colors."""
    if config.layout is None:
        return []
    try:
        layout_from_colors(open_layout_picture(config.layout), config.colors)
    except Cones2Error as error:
        return [f"{config.where}: layout {shown(config.layout.name)}: {error}"]
    return []
