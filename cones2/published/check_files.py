"""What is wrong with the files that guidance configs name; each file is read once, however often it is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..concepts.residual_file import load_residual
from ..errors import Cones2Error
from ..layout.painted import ColorEntry, layout_from_colors
from ..messages import shown
from ..storage.images import open_layout_picture
from .config import GuidanceConfig

ColorTable = tuple[ColorEntry, ...]


@dataclass
class Residuals:
    """How many tokens each residual file covers, or what is wrong with it."""

    _known: dict[Path, int | str] = field(default_factory=dict)

    def of(self, config: GuidanceConfig) -> tuple[dict[str, int], list[str]]:
        """The number of tokens of each residual of an entry, by its name, and what is wrong with the others."""
        token_nums: dict[str, int] = {}
        problems = []
        for name, _, file in config.subjects:
            if file is None or name in token_nums:
                continue
            known = self._read(file)
            if isinstance(known, int):
                token_nums[name] = known
            else:
                problems.append(f'{config.where}: residual of "{shown(name)}": {known}')
        return token_nums, problems

    def _read(self, file: Path) -> int | str:
        if file not in self._known:
            try:
                self._known[file] = load_residual(file).token_num
            except Cones2Error as error:
                self._known[file] = str(error)
        return self._known[file]


def layout_problems(configs: Sequence[GuidanceConfig]) -> dict[int, str]:
    """Why layout pictures cannot be read with their entries' colors, by the number of the entry."""
    tables: defaultdict[Path, defaultdict[ColorTable, list[GuidanceConfig]]] = defaultdict(lambda: defaultdict(list))
    for config in configs:
        if config.layout is not None:
            tables[config.layout][config.colors].append(config)
    return {
        config.entry: f"{config.where}: layout {shown(path.name)}: {problem}"
        for path, users in tables.items()
        for table, problem in _unreadable(path, list(users)).items()
        for config in users[table]
    }


def _unreadable(path: Path, tables: Sequence[ColorTable]) -> dict[ColorTable, str]:
    """What is wrong with one picture, by color table."""
    try:
        picture = open_layout_picture(path)
    except Cones2Error as error:
        return dict.fromkeys(tables, str(error))
    problems = {}
    for table in tables:
        try:
            layout_from_colors(picture, table)
        except Cones2Error as error:
            problems[table] = str(error)
    return problems
