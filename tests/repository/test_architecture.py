"""docs/architecture.md knows every file of the engine and of the nodes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = set[str]()
for _row in PAGE.splitlines():
    _folder = ""
    for _name in re.findall(r"`([\w/]+\.py)`", _row) if _row.startswith("|") else ():
        _folder = _name.rpartition("/")[0] if "/" in _name else _folder  # "`host/images.py`, `boxes.py`"
        NAMED.add(f"{_folder}/{_name.rpartition('/')[2]}".removeprefix("/"))
FILES = [
    path
    for folder in ("cones2", "nodes")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.read_text(encoding="utf-8").count("\n") > 3  # not the title of a folder
]


def _on_page(path: Path) -> str:
    """Files of the engine without their folder's name; those of the nodes from "nodes/" or "host/" on."""
    name = path.relative_to(ROOT).as_posix()
    return name.removeprefix("cones2/").replace("nodes/host/", "host/")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_is_on_the_page(path: Path) -> None:
    assert _on_page(path) in NAMED


def test_every_file_on_the_page_is_there() -> None:
    there = {_on_page(path) for folder in ("cones2", "nodes") for path in (ROOT / folder).rglob("*.py")}
    assert there >= NAMED
