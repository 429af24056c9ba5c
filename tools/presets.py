"""Writes the presets' numbers into the texts that show them: `python -m tools.presets`.

They are tables between <!-- presets --> and <!-- /presets --> in documentation, and lines "NAME: …" of tooltips.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cones2.presets import PRESETS

PACK = Path(__file__).resolve().parents[1]
NODES = ("Cones2ApplyLayoutGuidance", "Cones2LayoutGuidedKSampler")
PAGES = ("docs/evaluation.md", *(f"web/docs/{node}.md" for node in NODES))
LOCALES = sorted(path.relative_to(PACK).as_posix() for path in PACK.glob("locales/*/nodeDefs.json"))
_BLOCK = re.compile(r"(<!-- presets -->\n).*?(<!-- /presets -->)", re.DOTALL)


def table() -> str:
    """The presets as Markdown; forwards are multiples of those of a run without a layout."""
    names = [f"`{name}`" for name in next(iter(PRESETS.values())).values]
    rows = [
        [f"`{name}`", *preset.values.values(), f"{preset.forwards:.2f} ×"]  # as the report writes it
        for name, preset in PRESETS.items()
    ]
    lines = [["preset", *names, "forwards"], ["---"] * (len(names) + 2), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_presets(path: str, text: str) -> str:
    """The text of a file with today's numbers."""
    if path in PAGES:
        return _BLOCK.sub(lambda block: f"{block[1]}{table()}\n{block[2]}", text)
    nodes: dict[str, Any] = json.loads(text)
    for node in NODES:
        tooltip = nodes[node]["inputs"]["preset"]
        first = tooltip["tooltip"].split("\n")[0]
        tooltip["tooltip"] = "\n".join([first, *(f"{name}: {preset}" for name, preset in PRESETS.items())])
    return json.dumps(nodes, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for path in (*PAGES, *LOCALES):
        file = PACK / path
        file.write_text(with_presets(path, file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
