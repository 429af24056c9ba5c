"""docs/architecture.md knows every file of the engine and of the nodes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = {name.rpartition("/")[2] for row in PAGE.splitlines() for name in re.findall(r"`([\w/]+\.py)`", row)}
FILES = [
    path
    for folder in ("cones2", "nodes")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.read_text(encoding="utf-8").count("\n") > 3  # not the title of a folder
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_is_on_the_page(path: Path) -> None:
    assert path.name in NAMED


def test_every_file_on_the_page_is_there() -> None:
    there = {path.name for folder in ("cones2", "nodes", "tests") for path in (ROOT / folder).rglob("*.py")}
    assert there >= NAMED
